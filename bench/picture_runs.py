"""The runs as the pictures have them: new, live, or ended in each way, with what their workers left."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from fitune.core.recipe import load, presets_dir
from fitune.core.runs import EventLog, Failed, Finished, Phase, Started
from tests.fake_worker import make_run, start

TICKETS = Path(__file__).with_name("tickets_run.jsonl")
"""A `fitune demo` on two busy cores, as its worker has told it; without its warning that the Hub was out of reach."""
LIVE_EVENTS, CHECKPOINT_STEP = 58, 20


def new_run(base: Path) -> Path:
    """A run whose worker has not said anything yet."""
    return make_run(base, "2026-11-22-smollm2-135m-new")


def live_run(base: Path, events: int = LIVE_EVENTS, name: str = "live") -> Path:
    """The recorded run up to one of its events, as if that had just been written."""
    recipe = load.load(presets_dir() / "demo" / "recipe.toml", ["data.source=tickets.jsonl"])
    run = make_run(base, f"2026-11-29-smollm2-135m-{name}", recipe=recipe.model_dump(mode="json"))
    told = [json.loads(line) for line in TICKETS.read_text().splitlines()][:events]
    ago_s = time.time() - told[-1]["t"]
    lines = [json.dumps({**event, "t": event["t"] + ago_s}, separators=(",", ":")) for event in told]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    said = [f"step {e['data']['step']}  loss {e['data']['loss']:.4f}" for e in told if e["type"] == "step"]
    (run / "worker.log").write_text("\n".join(said) + "\n")
    if len(said) >= CHECKPOINT_STEP:
        (run / "checkpoints" / f"checkpoint-{CHECKPOINT_STEP}").mkdir(parents=True)
    return run


def ended_run(base: Path, told: str) -> Path:
    """A run that is over, with the adapter that its worker left if it finished, and a checkpoint if it was killed."""
    run = make_run(base, f"2026-11-22-smollm2-135m-{told}", told=told, host="gpu-box")
    (run / "worker.log").write_text("the recorded run kept no log\n")
    if told == "demo":
        (run / "adapter").mkdir()
        (run / "adapter" / "adapter_model.safetensors").write_bytes(bytes(19_600_000))
    if told == "killed":
        (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    return run


def job_run(base: Path, told: str) -> Path:
    """A trained run whose adapter is being merged or pushed, or has been merged, well or badly."""
    run = ended_run(base, "demo")
    if told == "push":
        log = EventLog(run / "events.jsonl", "push")
        log.write(Started(device="the Hub"))
        log.write(Phase(name="ask"))
        sent = Phase(name="upload", repo="you/sums", files=6, bytes=23_000_000)
        log.write(replace(sent, done_bytes=3_500_000, file="adapter_model.safetensors"))
        return run
    log = EventLog(run / "events.jsonl", "merge")
    log.write(Started(device="cpu"))
    log.write(Phase(name="download", model="HuggingFaceTB/SmolLM2-135M-Instruct"))
    log.write(Phase(name="write", bytes=269_000_000))
    if told == "merge":
        (run / "merged.part").mkdir()
        (run / "merged.part" / "model.safetensors").write_bytes(bytes(112_000_000))
        return run
    folder = run / ("merged" if told == "merged" else "merged.failed")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(269_000_000))
    (folder / "proof.json").write_text(json.dumps(proof(told == "merged")))
    if told == "merged":
        log.write(Finished(bytes=269_000_000, files=5, elapsed_s=21.0))
    else:
        what = "What was written failed its proof. chat template: expected the one of the training; got another."
        log.write(Failed(kind="data", message=what, hint="Use the adapter as it is, or merge once more."))
    return run


def proof(passed: bool) -> dict[str, object]:
    """As a merge of SmolLM2-135M leaves it."""
    rows = [
        ("tensors", "272, of the base's shapes", "272"),
        ("changed by the adapter", "210 tensors", "210; 210 differ from the base"),
        ("left as they were", "62 tensors", "62"),
        ("tokenizer", "as in training, on 8 rows", "the same"),
        ("chat template", "the one of the training", "the same" if passed else "another"),
        ("marks that end an answer", "<|im_end|>", "the same"),
    ]
    if passed:
        rows += [
            ("loads in transformers", "every weight found", "yes"),
            ("its answers", "at most 0.015 nats a token away", "0.0043"),
            ("likeliest token", "the same for 95%", "98.0%"),
            ("ends by itself", "6 of 8 answers", "6"),
        ]
    checks = [{"check": c, "expected": e, "got": g, "passed": g != "another"} for c, e, g in rows]
    return {"passed": passed, "checks": checks}


def watched_run(base: Path, told: str) -> "tuple[Path, subprocess.Popen[bytes] | None]":
    """The run of a picture, and the worker that holds it if it is alive."""
    match told:
        case "live":
            run = live_run(base)
        case "new":
            run = new_run(base)
        case "merge" | "merged" | "spoiled" | "push":
            run = job_run(base, told)
        case _:
            run = ended_run(base, told)
    if told not in ("live", "new", "merge", "push"):
        return run, None
    nothing = base / "nothing.jsonl"
    nothing.touch()
    return run, start(run, str(nothing), "--then", "hang")
