"""The inside of `core.shapes` and `core.budget`: families of models, and each term of a run's memory."""
