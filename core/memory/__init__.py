"""The inside of `core.memory.shape` and `core.memory.budget`: families of models, and each term of a run's memory."""
