"""Commands that start a training and follow it."""
