"""Images for a model that sees: the tokens that stand for them in a row, and the tensors that it looks at."""
