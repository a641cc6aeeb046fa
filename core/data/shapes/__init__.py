"""The shape of a source's rows: which column is the question, which the answer, which holds chats."""
