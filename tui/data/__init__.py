"""What is said of a data set: its report, its rows in tokens, and the slow work of reading it."""
