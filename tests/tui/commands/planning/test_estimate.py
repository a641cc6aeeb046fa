"""`fitune estimate`, `fit` and `presets`: exit status, what is printed where, and how soon."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import ExitCode, UserError
from fitune.core.forecast import history
from fitune.core.forecast.pace import estimate_pace
from fitune.core.jobs import calibrate
from fitune.core.machine import CARD_FREE_SHARE, host
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine
from fitune.core.memory.shapes import load
from fitune.core.recipe.load import to_toml
from fitune.core.tokens import TokenStats, cache
from fitune.core.units import GIB
from tests.core.forecast.measurements import VERSIONS, measurement
from tests.core.tokens.token_rows import prepared
from tests.tui.conftest import Fitune

ROOT = Path(__file__).parents[4]
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(f'[model]\nid = "{MODEL}"\nmax_seq_length = 4096\n[data]\nsource = "rows"\n')
    return str(path)


@pytest.fixture
def l4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an idle L4."""
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    found = Machine(gpus=(card,), gpu_state="ok", ram_available_bytes=64 * GIB, versions=dict(VERSIONS))
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(ram_available_bytes=8 * GIB))


# --- estimate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status", "verdict"), [("24GiB", 0, "fits"), ("7", 3, "over")])
def test_an_estimate_is_one_document_and_its_status_the_verdict(
    fitune: Fitune, recipe_file: str, size: str, status: int, verdict: str
) -> None:
    ended, out, err = fitune("estimate", recipe_file, "--gpu-memory", size, "--json")
    found = json.loads(out)
    assert (ended, err, found["verdict"]) == (status, "", verdict)
    assert sum(part["bytes"] for part in found["parts"]) == found["total_bytes"]
    assert bool(found["remedies"]) is (verdict != "fits")
    assert found["pace"]["tokens_per_s"] is None, "the card has no name"


def test_an_estimate_for_another_card_does_not_look_at_this_machine(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(runs_dir: Path | None = None) -> Machine:
        raise AssertionError

    monkeypatch.setattr(host, "detect", detect)
    assert fitune("estimate", recipe_file, "--gpu-memory", "24")[0] == 0
    assert fitune("fit", recipe_file, "--gpu-memory", "24")[0] == 0
    assert fitune("presets", "--gpu-memory", "24")[0] == 0


@pytest.mark.parametrize("command", ["estimate", "fit"])
def test_a_preset_is_planned_with_before_there_are_rows(fitune: Fitune, command: str) -> None:
    status, out, err = fitune(command, "8b-on-12gb", "--gpu-memory", "12GiB")
    assert (status, err) == (0, "")
    assert "lengths: assumed, every row fills model.max_seq_length" in out
    assert "rows-to-come" not in out
    assert "no file" not in out


@pytest.mark.usefixtures("l4")
def test_the_estimate_in_words_has_memory_verdict_and_pace(fitune: Fitune, recipe_file: str) -> None:
    status, out, err = fitune("estimate", recipe_file)
    assert status == 0
    assert re.search(r"GiB  predicted +at the peak \(", out)
    assert "OK    It fits." in out
    assert "tokens/s" in out
    assert "lengths: assumed, every row fills model.max_seq_length" in out
    assert err == ""


@pytest.mark.usefixtures("l4")
@pytest.mark.parametrize("command", ["estimate", "fit"])
def test_packed_rows_have_a_length_that_is_known(fitune: Fitune, recipe_file: str, command: str) -> None:
    _, out, _ = fitune(command, recipe_file, "--set", "data.packing=true")
    assert "lengths: packed rows fill model.max_seq_length" in out


@pytest.mark.usefixtures("l4")
@pytest.mark.parametrize("command", ["estimate", "fit"])
def test_a_module_that_the_model_does_not_have_is_told(fitune: Fitune, recipe_file: str, command: str) -> None:
    sets = ["--set", "model.id=Qwen/Qwen3-8B", "--set", 'lora.target_modules=["q_proj","v_projj"]']
    said = " ".join(fitune(command, recipe_file, *sets)[1].split())
    assert "WARN lora.target_modules: the model has no v_projj; only the others are trained." in said


@pytest.mark.usefixtures("l4")
@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3.5-9B", "ibm-granite/granite-4.0-h-micro", "LiquidAI/LFM2.5-1.2B-Instruct"]
)
@pytest.mark.parametrize("rows", [None, prepared([(60, [(50, 60)])] * 4000)])
def test_rows_that_a_model_would_not_keep_apart_are_never_counted_as_packed(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch, model: str, rows: TokenStats | None
) -> None:
    monkeypatch.setattr(cache, "lookup", lambda asked, base: rows)

    def told(command: str, packing: str, *options: str) -> str:
        return fitune(command, recipe_file, "--set", f"model.id={model}", "--set", f"data.packing={packing}", *options)[
            1
        ]

    note = f"WARN data.packing = true: rows are not packed, as in {model.partition('/')[2]} a packed row would see"
    for command in ("estimate", "fit"):
        asked, apart = told(command, "true"), told(command, "false")
        assert note in " ".join(asked.split())
        assert "WARN data.packing" not in " ".join(apart.split())
        assert "packed rows fill" not in asked
        asked_json, apart_json = (json.loads(told(command, packing, "--json")) for packing in ("true", "false"))
        if rows:
            assert asked_json["workload"]["packing"].pop("why") == "not_apart"
            apart_json["workload"]["packing"].pop("why")
        assert asked_json == apart_json


def test_lengths_that_were_measured_before_count_and_their_source_is_said(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumed = json.loads(fitune("estimate", recipe_file, "--gpu-memory", "24", "--json")[1])
    assert assumed["workload"] is None
    rows = prepared([(60, [(50, 60)])] * 4000)
    monkeypatch.setattr(cache, "lookup", lambda asked, base: rows)
    ended, out, err = fitune("estimate", recipe_file, "--gpu-memory", "24", "--json")
    found = json.loads(out)
    assert (ended, err) == (0, "")
    assert found["total_bytes"] < assumed["total_bytes"]
    work = found["workload"]
    assert (work["source_rows"], work["longest"], work["packing"]["rows"]) == (4000, 60, 3800)
    assert work["trained_tokens"] == pytest.approx(3800 * 10, rel=1e-3)
    out = fitune("estimate", recipe_file, "--gpu-memory", "24")[1]
    assert "lengths: measured on your 4,000 rows\n" in out
    assert "3,800 rows to train on" in out
    assert "lengths: measured on your 4,000 rows\n" in fitune("fit", recipe_file, "--gpu-memory", "24")[1]
    assert json.loads(fitune("fit", recipe_file, "--gpu-memory", "24", "--json")[1])["workload"] == work


@pytest.mark.usefixtures("l4")
def test_what_runs_taught_is_seen_in_the_estimate(fitune: Fitune, recipe_file: str, fitune_home: Path) -> None:
    before = json.loads(fitune("estimate", recipe_file, "--json")[1])
    fitune_home.mkdir()
    total = before["total_bytes"]
    history.append(fitune_home, measurement(predicted_bytes=total, peak_bytes=round(total * 1.05)))
    after = json.loads(fitune("estimate", recipe_file, "--json")[1])
    assert after["total_bytes"] == pytest.approx(1.05 * total, rel=1e-6)
    assert after["parts"][-1]["why"] == "corrected by +5.0% from 1 run on this card"
    assert sum(part["bytes"] for part in after["parts"]) == after["total_bytes"]
    assert "corrected by +5.0%" in fitune("estimate", recipe_file)[1]
    other = json.loads(fitune("estimate", recipe_file, "--gpu-memory", "24", "--json")[1])
    assert "correction" not in [part["name"] for part in other["parts"]]


@pytest.mark.usefixtures("l4")
@pytest.mark.parametrize("learns", [True, False])
def test_calibrate_measures_first(
    fitune: Fitune, recipe_file: str, fitune_home: Path, monkeypatch: pytest.MonkeyPatch, learns: bool
) -> None:
    def measured(recipe: Any, tell: Callable[[str], None]) -> bool:
        fitune_home.mkdir(exist_ok=True)
        tell("train")
        if learns:
            history.append(fitune_home, measurement())
        return learns

    monkeypatch.setattr(calibrate, "calibrate", measured)
    status, out, err = fitune("estimate", recipe_file, "--calibrate")
    assert status == 0
    assert "  train\n" in err
    assert ("1 run on this card" in out) is learns
    assert ("Nothing was learned" in err) is not learns


def test_calibrate_for_a_card_that_is_not_here_is_bad_input(fitune: Fitune, recipe_file: str) -> None:
    status, out, err = fitune("estimate", recipe_file, "--calibrate", "--gpu-memory", "24")
    assert (status, out) == (2, "")
    assert "--calibrate measures on this machine" in err


# --- fit -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("l4")
def test_fit_prints_a_plan_to_paste_and_why_not_the_others(fitune: Fitune, recipe_file: str) -> None:
    status, out, err = fitune("fit", recipe_file)
    assert (status, err) == (0, "")
    assert out.startswith("Llama-3.1-8B-Instruct on NVIDIA L4 with 23.0 GiB free; lengths: assumed, every row fills")
    assert "tokens/s" in out
    assert "Not taken" in out
    assert "Longest rows that fit in memory" in out
    flags = next(line for line in out.splitlines() if line.startswith("      change")).split()[1:]
    assert fitune("estimate", recipe_file, *flags)[0] == 0


def test_fit_as_json_has_plan_rejected_and_longest(fitune: Fitune, recipe_file: str) -> None:
    status, out, err = fitune("fit", recipe_file, "--gpu-memory", "8", "--json", "--set", "train.micro_batch=4")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["fits"]
    assert found["plan"]["budget"]["verdict"] == "fits"
    assert found["rejected"][0]["set"] == {}
    assert all(each["why"] for each in found["rejected"])
    assert found["longest"]["max_seq_length"] == found["longest"]["set"]["model.max_seq_length"]


def test_fit_tells_the_plan_for_rows_that_the_recipe_cuts(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = prepared([(1500, [(100, 1500)])] * 180 + [(100_000, [(100, 100_000)])] * 20)
    monkeypatch.setattr(cache, "lookup", lambda asked, base: rows)
    status, out, err = fitune("fit", recipe_file, "--gpu-memory", "24")
    assert (status, err) == (0, "")
    told, flags = out[out.index("The recipe cuts rows.") :].splitlines()[:2]
    assert re.search(r"Nearly all of them whole: \d+\.\d GiB", told)
    assert "--set model.max_seq_length=100096 " in flags
    assert fitune("estimate", recipe_file, "--gpu-memory", "24", *flags.split())[0] == 0
    found = json.loads(fitune("fit", recipe_file, "--gpu-memory", "24", "--json")[1])
    assert found["whole_rows"]["max_seq_length"] == 100_096
    small = json.loads(fitune("fit", recipe_file, "--gpu-memory", "8", "--json")[1])
    assert small["whole_rows"] is None
    assert small["fits"], "shorter rows do"


def test_fit_of_what_fits_nowhere_ends_with_3_and_says_what_would_help(fitune: Fitune, recipe_file: str) -> None:
    status, out, _ = fitune("fit", recipe_file, "--gpu-memory", "3")
    assert status == 3
    assert "ERROR Nothing fits" in out
    assert "As it is, an idle card of 6 GB would do." in out
    status, out, _ = fitune("fit", recipe_file, "--gpu-memory", "3", "--json")
    assert status == 3
    assert (json.loads(out)["plan"], json.loads(out)["fits"]) == (None, False)


@pytest.mark.usefixtures("no_card")
def test_fit_on_a_processor_counts_its_ram(fitune: Fitune, recipe_file: str) -> None:
    assert fitune("fit", recipe_file)[0] == 3
    status, out, _ = fitune("fit", recipe_file, "--set", "model.id=HuggingFaceTB/SmolLM2-135M-Instruct",
                            "--set", "model.max_seq_length=512")  # fmt: skip
    assert status == 0
    assert "on the processor, 8.0 GiB of RAM free" in out


@pytest.mark.parametrize("size", ["12", "12GB", "12 gb", "12 GiB", "12288 MB"])
def test_the_gb_of_a_card_are_gib_as_in_its_name(fitune: Fitune, recipe_file: str, size: str) -> None:
    told = json.loads(fitune("estimate", recipe_file, f"--gpu-memory={size}", "--json")[1])
    assert told["free_bytes"] == round(12 * GIB * CARD_FREE_SHARE), "as free as a real one that is idle"


@pytest.mark.parametrize("size", ["", "much", "0", "-1", "1.2.3", ".", "16 parsecs", "0.0000000001", "9" * 400])
@pytest.mark.parametrize("command", ["estimate", "fit", "presets"])
def test_a_size_that_is_none_is_bad_input(fitune: Fitune, recipe_file: str, command: str, size: str) -> None:
    status, out, err = fitune(command, *[recipe_file] * (command != "presets"), f"--gpu-memory={size}")
    assert (status, out) == (2, "")
    assert "is not an amount of memory" in err


def test_on_a_processor_an_estimate_is_judged_by_the_ram(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(ram_available_bytes=8 * GIB))
    status, out, _ = fitune("estimate", recipe_file)
    assert status == fitune("fit", recipe_file)[0] == 3
    assert out.startswith("Llama-3.1-8B-Instruct on the processor, 8.0 GiB of RAM free\n")
    assert "ERROR It does not fit." in out
    found = json.loads(fitune("estimate", recipe_file, "--json")[1])
    assert (found["verdict"], found["free_bytes"]) == ("over", 8 * GIB)
    assert all("model.quant" not in way["set"] for way in found["remedies"])
    assert fitune("estimate", recipe_file, "--set", "model.id=HuggingFaceTB/SmolLM2-135M-Instruct",
                  "--set", "model.max_seq_length=512")[0] == 0  # fmt: skip


@pytest.mark.usefixtures("l4")
@pytest.mark.parametrize("where", [(), ("--gpu-memory", "24")])
@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("lora.init=pissa", "model.quant=bf16"), "lora.init"),
        (("train.offload_layers=9", "train.checkpointing=off"), "train.offload_layers: needs checkpointing"),
        (("train.offload_layers=auto", "model.quant=int8"), "train.offload_layers: is not done with 8-bit"),
    ],
)
def test_what_unsloth_would_refuse_is_bad_input_here_and_elsewhere(
    fitune: Fitune, recipe_file: str, where: tuple[str, ...], sets: tuple[str, ...], said: str
) -> None:
    flags = [text for each in sets for text in ("--set", each)]
    status, out, err = fitune("estimate", recipe_file, *where, *flags)
    assert (status, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("installed", [True, False])
def test_unsloth_is_a_remedy_where_it_is_installed(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 9 * GIB, GIB, compute_capability=(8, 9))
    versions: dict[str, str | None] = dict(VERSIONS) if installed else {"torch": "2.11.0"}
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine((card,), "ok", versions=versions))
    asked = ("--set", "train.backend=trl", "--set", "train.checkpointing=on")
    ways = json.loads(fitune("estimate", recipe_file, *asked, "--json")[1])["remedies"]
    assert ways
    assert any("train.backend" in way["set"] for way in ways) is installed


@pytest.mark.parametrize("command", ["estimate", "fit", "presets"])
def test_a_card_that_hides_its_size_is_a_sentence(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    card = Gpu(0, "GPU-1", "NVIDIA GB10", None, None, None, compute_capability=(12, 1))
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine((card,), "ok", versions=dict(VERSIONS)))
    status, out, err = fitune(command, *[recipe_file] * (command != "presets"))
    assert (status, out) == (2, "")
    assert "NVIDIA GB10 doesn't tell how much memory it has." in err


def test_host_ram_and_disk_are_told_and_too_little_ram_is_warned_of(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 23 * GIB, GIB, compute_capability=(8, 9))
    found = Machine(gpus=(card,), gpu_state="ok", ram_available_bytes=3 * GIB, versions=dict(VERSIONS))
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    out = fitune("estimate", recipe_file, "--set", "train.offload_layers=20")[1]
    assert re.search(r"GiB  host RAM +20 of 32 layers wait there, pinned; 3\.0 GiB are free", out)
    assert re.search(r"GiB  disk +checkpoints and results, and [\d.]+ GiB for the model unless it is here", out)
    assert "ERROR It does not fit.\n      For its host RAM" in out
    assert "--set train.checkpointing=on  saves" in out
    assert "ERROR" not in fitune("estimate", recipe_file, "--set", "train.checkpointing=on")[1]


def test_a_limit_of_the_recipe_is_told_beside_what_is_free(fitune: Fitune, recipe_file: str) -> None:
    out = fitune("estimate", recipe_file, "--gpu-memory", "8", "--set", "run.vram_limit_gib=5")[1]
    assert out.startswith("Llama-3.1-8B-Instruct on a planned 8 GB card with 7.6 GiB free, 5 GiB of it to take\n")
    assert "5 GiB of it" not in fitune("estimate", recipe_file, "--gpu-memory", "4", "--set", "run.vram_limit_gib=5")[1]


# --- presets -------------------------------------------------------------------------------------------------------


def test_presets_for_a_card_begin_with_the_largest_that_fits_it(fitune: Fitune) -> None:
    found = json.loads(fitune("presets", "--gpu-memory", "12", "--json")[1])
    fitting = [each for each in found if each["verdict"] == "fits" and each["card_gib"] <= 12]
    assert found[: len(fitting)] == fitting
    assert fitting[0]["card_gib"] == max(each["card_gib"] for each in fitting)
    verdicts = [each["verdict"] == "fits" for each in found]
    assert verdicts == sorted(verdicts, reverse=True)


@pytest.mark.usefixtures("l4")
def test_presets_here_are_corrected_and_have_a_pace(fitune: Fitune, fitune_home: Path) -> None:
    before = {each["id"]: each for each in json.loads(fitune("presets", "--json")[1])}
    preset = before["8b-on-12gb"]
    pace = estimate_pace(load(preset["models"][0]), _recipe_of("8b-on-12gb"), "NVIDIA L4")
    assert preset["tokens_per_s"] == pytest.approx(pace.tokens_per_s)
    fitune_home.mkdir()
    total = preset["total_bytes"]
    history.append(fitune_home, measurement(predicted_bytes=total, peak_bytes=round(total * 1.1)))
    after = {each["id"]: each for each in json.loads(fitune("presets", "--json")[1])}
    assert after["8b-on-12gb"]["total_bytes"] == pytest.approx(1.1 * total, rel=1e-6)
    assert after["135m-on-anything"] == before["135m-on-anything"]


def test_presets_on_a_machine_are_judged_as_their_recipes_are(
    fitune: Fitune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 7 * GIB, GIB, compute_capability=(8, 9))
    for here in (Machine(gpus=(card,), gpu_state="ok"), Machine(ram_available_bytes=8 * GIB)):  # without unsloth
        monkeypatch.setattr(host, "detect", lambda runs_dir=None, here=here: here)
        found = {each["id"]: each for each in json.loads(fitune("presets", "--json")[1])}
        for name in ("135m-on-anything", "3b-on-8gb", "8b-on-6gb"):
            path = tmp_path / "preset.toml"
            path.write_text(to_toml(_recipe_of(name)))
            told = json.loads(fitune("estimate", str(path), "--json")[1])
            assert told["verdict"] == found[name]["verdict"]
            assert told["total_bytes"] == found[name]["total_bytes"]


def _recipe_of(preset: str) -> Any:
    from fitune.core.recipe import presets

    return presets.find(preset).recipe("rows.jsonl")


# --- quick ---------------------------------------------------------------------------------------------------------


def test_an_estimate_imports_nothing_heavy(recipe_file: str) -> None:
    code = (
        "import sys; from fitune.tui.cli import dispatch, parser\n"
        f"dispatch(parser().parse_args(['estimate', {recipe_file!r}, '--gpu-memory', '24']))\n"
        "heavy = {'torch', 'textual', 'rich', 'psutil', 'pynvml', 'huggingface_hub', 'asyncio'}\n"
        "print(*heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "\n"


def test_a_model_that_is_not_known_is_a_sentence(fitune: Fitune, recipe_file: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "perceptron"}')
    for command in ("estimate", "fit"):
        status, out, err = fitune(command, recipe_file, "--gpu-memory", "24", "--set", f"model.id={tmp_path}")
        assert (status, out) == (2, "")
        assert "perceptron" in err


def test_what_calibrate_cannot_measure_is_a_sentence(
    fitune: Fitune, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(recipe: Any, tell: Callable[[str], None]) -> bool:
        raise UserError("The training that was to measure was killed.", exit_code=ExitCode.FAILED)

    monkeypatch.setattr(calibrate, "calibrate", failed)
    status, out, err = fitune("estimate", recipe_file, "--calibrate")
    assert (status, out) == (1, "")
    assert "was killed" in err
