"""A stand-in for the process with the model in it, standard library only: `python tests/fake_chat.py RUN [--mode M]`.

It says back what it was asked, side by side; modes make it fail in the ways that the real one can. With the question
"slow" it writes until it is stopped, "long" is cut, "refuse" is refused, "die" ends it.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

QUESTIONS: list[dict[str, Any]] = [
    {
        "asked": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"What is {n} + {n}?"}],
        "tools": None,
        "shown": f"What is {n} + {n}?",
        "reference": f"It is {2 * n}.",
    }
    for n in (1, 2)
]
RAW: list[dict[str, Any]] = [{"asked": "Once upon", "tools": None, "shown": "Once upon", "reference": "a time."}]
halted = threading.Event()


def tell(type: str, **data: Any) -> None:  # noqa: A002 - the protocol's word
    os.write(1, json.dumps({"type": type, **data}).encode() + b"\n")


def reply(wanted: dict[str, Any], log: Path) -> None:
    with log.open("a") as file:
        file.write(json.dumps(wanted) + "\n")
    for side in ("base", "tuned"):
        asked = wanted["asked"][side]
        text = asked if isinstance(asked, str) else asked[-1]["content"]
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "refuse":
            tell("refused", kind="data", message="The template says no.", hint="Ask otherwise.")
            return
        answer, ended = f"{side} heard: {text}", {"long": "length", "slow": "asked"}.get(text, "itself")
        tell("text", side=side, text=answer)
        while text == "slow" and not halted.is_set():
            tell("text", side=side, text=" on")
            time.sleep(0.02)
        tell("answer", side=side, text=answer, ended=ended, tokens=len(answer.split()), elapsed_s=0.5)
        if halted.is_set():
            break
    tell("done")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("run", type=Path)
    options.add_argument("--mode", choices=("chat", "raw", "failed", "dies", "leaves", "loads"), default="chat")
    given = options.parse_args()
    tell("phase", name="load")
    if given.mode == "failed":
        tell("failed", kind="oom", message="The card is full.", hint="Close something.")
        sys.exit(1)
    if given.mode == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if given.mode == "leaves":
        sys.exit(3)
    while given.mode == "loads":
        time.sleep(1)
    questions = RAW if given.mode == "raw" else QUESTIONS
    tell("ready", device="cpu", model="tiny", questions=questions)
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted.get("stop"):
            halted.set()
        else:
            halted.clear()
            threading.Thread(target=reply, args=(wanted, given.run / "asked.jsonl"), daemon=True).start()


if __name__ == "__main__":
    main()
