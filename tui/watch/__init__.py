"""Following a run: its screen, its lines for a plain terminal, how it ended and what to do next."""
