"""What the rows of a source are: which column is the question, which the answer, which holds chats."""
