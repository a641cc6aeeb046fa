"""How fast a large JSONL file is inspected, next to parsing its lines with orjson: time to first preview, rate, memory.

    python -m bench.dataset_speed [--mb 1000]

Rows are made from the GSM8K excerpt in tests/data, each with a number of its own so that no two are equal: question and
answer pairs of about 600 bytes, and chats of six turns of about 2 kB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle
from operator import itemgetter
from pathlib import Path

import orjson

ROUNDS = 3
"""The two are measured in turns, and the fastest of each counts: other work on the machine only ever slows them."""
EXCERPT = Path(__file__).parents[1] / "tests" / "data" / "gsm8k_excerpt.jsonl"
MEASURE = """
import json, resource, sys, time
import orjson
def peak_mb(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def timed(action):
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
def parse():
    with open(sys.argv[2], "rb") as file:
        for line in file:
            orjson.loads(line)
from fitune.core.data.dataset import inspect, preview
from fitune.core.recipe.data_fields import Data
def fitune():
    (preview if sys.argv[1] == "preview" else inspect)(Data(source=sys.argv[2]))
print(json.dumps({**timed(parse if sys.argv[1] == "parse" else fitune), "peak_mb": peak_mb()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000, help="size of each file in MB (1e6 bytes)")
    megabytes = parser.parse_args().mb
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("pairs", _pair), ("chats", _chat)):
            path = Path(folder, f"{name}.jsonl")
            rows = _write(path, make, megabytes * 1_000_000)
            found = {"preview": _measure("preview", path)}
            rounds = [(_measure("parse", path), _measure("inspect", path)) for _ in range(ROUNDS)]
            found["parse"], found["inspect"] = (
                min(each, key=itemgetter("cpu_s")) for each in zip(*rounds, strict=True)
            )
            path.unlink()
            ratio = found["inspect"]["cpu_s"] / found["parse"]["cpu_s"]
            print(f"{name}: {rows:,} rows, {megabytes} MB; inspect costs {ratio:.2f} x the CPU time of orjson alone")
            for what, numbers in found.items():
                print(f"  {what:8}" + "".join(f"{key} {value:8.2f}  " for key, value in numbers.items()))


def _pair(row: dict[str, str], number: int) -> dict[str, object]:
    return {"question": f"{number}. {row['question']}", "answer": row["answer"]}


def _chat(row: dict[str, str], number: int) -> dict[str, object]:
    turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}] * 3
    return {"messages": [{"role": "system", "content": f"Problem {number}."}, *turns]}


def _write(path: Path, make: Callable[[dict[str, str], int], object], size_bytes: int) -> int:
    excerpt = [orjson.loads(line) for line in EXCERPT.read_bytes().splitlines()]
    with path.open("wb") as file:
        for number, row in enumerate(cycle(excerpt)):
            file.write(orjson.dumps(make(row, number), option=orjson.OPT_APPEND_NEWLINE))
            if not number % 1000 and file.tell() >= size_bytes:
                return number + 1
    raise AssertionError("cycle does not end")


def _measure(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-c", MEASURE, what, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
