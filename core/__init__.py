"""Everything of fitune that is not a screen.

The flow: machine -> presets -> budget -> config -> dataset -> runs ==spawn==> worker -> deliver.
Two rules, checked by import-linter and by `tests/test_imports.py`: nothing here knows `tui` or textual, and nothing
outside `core.worker` imports torch, transformers or datasets, or `core.worker` itself (it is started by name).
"""

__version__ = "0.1.0"
