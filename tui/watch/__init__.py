"""Watch a run: the screen, the lines for a plain terminal, the end in words and the next action."""
