"""The inside of `core.dataset`: opening files of every kind, recognising their shape, counting what is wrong."""
