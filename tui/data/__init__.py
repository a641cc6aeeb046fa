"""Data sets on the terminal: the report, the rows in tokens, and the slow work of reading them."""
