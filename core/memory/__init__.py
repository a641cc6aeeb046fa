"""The inside of `core.memory.shapes` and `core.memory.budget`: families of models, and each term of a run's memory."""
