"""The command that starts a merge, an export or a push again, as it was asked for the last time."""

import shlex

from fitune.core.deliver import UPLOAD_KINDS, ExportRequest, PushRequest, requests
from fitune.core.runs import Run


def command(run: Run, job: str) -> str:
    """What to type; foreign text, which whoever shows it cleans. Where nothing is known of the wish, its bare form."""
    try:
        options = _options(run, job)
    except (OSError, ValueError):
        options = {"export": ["--gguf", "KIND"], "push": ["--repo", "ID"]}.get(job, [])
    return shlex.join(["fitune", job, run.name, *options])


def _options(run: Run, job: str) -> list[str]:
    match job:
        case "merge":
            return ["--base", base] if (base := requests.merge_base(run)) else []
        case "export":
            return ["--gguf", *requests.read(ExportRequest, run.path / "export.json").gguf]
        case "push":
            push = requests.read(PushRequest, run.path / "push.json")
            what = [f"--{push.what}"] if push.what in UPLOAD_KINDS[1:] else []
            return ["--repo", push.repo, *what, *([] if push.private else ["--public"])]
    return []
