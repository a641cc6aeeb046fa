"""The base model: the ones to choose from on this card, and where the chosen one comes from."""
