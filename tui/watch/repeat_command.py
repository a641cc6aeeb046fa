"""The command that starts a merge, an export or a push again, as it was asked for the last time."""

import json
import shlex
from typing import Any

from fitune.core.deliver import UPLOAD_KINDS
from fitune.core.runs import Run


def command(run: Run, job: str) -> str:
    """What to type; foreign text, which whoever shows it cleans. Where nothing is known of the wish, its bare form."""
    try:
        wish = json.loads((run.path / f"{job}.json").read_bytes())
        options = _options(job, wish)
    except (OSError, ValueError, KeyError, TypeError):
        options = {"export": ["--gguf", "KIND"], "push": ["--repo", "ID"]}.get(job, [])
    return shlex.join(["fitune", job, run.name, *options])


def _options(job: str, wish: dict[str, Any]) -> list[str]:
    match job:
        case "merge":
            return ["--base", str(wish["base"])] if wish["base"] else []
        case "export":
            return ["--gguf", *map(str, wish["gguf"])]
        case "push":
            what = [f"--{wish['what']}"] if wish["what"] in UPLOAD_KINDS[1:] else []
            return ["--repo", str(wish["repo"]), *what, *([] if wish["private"] else ["--public"])]
    return []
