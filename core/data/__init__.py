"""The inside of `core.data.dataset`: opening files of every kind, recognising their shape, counting what is wrong."""
