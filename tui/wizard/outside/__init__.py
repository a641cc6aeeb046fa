"""Programs that take the terminal for a while: the user's editor, and the race of learning rates."""
