"""The messages between a screen and a worker that answers."""
