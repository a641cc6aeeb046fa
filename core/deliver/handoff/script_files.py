"""The files of a handed-off script: run.py, and copies of the worker's own files that it imports."""

import ast
from inspect import getsource
from pathlib import Path

from fitune.core.deliver.handoff.script import script
from fitune.core.deliver.handoff.spec import TrainingSpec
from fitune.core.machine import OLDEST_CAPABILITY
from fitune.core.memory import are_named_experts, is_named

COPIED = ("architecture/targets.py", "architecture/model_class.py")
"""The worker's files that go along."""
ATTENTION = "training/varlen_attention.py"
"""The one that goes along with Unsloth's script."""
RENDERS = (
    "chats/surroundings.py", "chats/template.py", "chats/messages.py", "chats/answers.py", "chats/cures.py",
    "chats/rows.py", "chats/images.py", "rows/tokenized.py", "rows/render.py",
)  # fmt: skip
"""The worker's files that make tokens of rows, each behind those that it imports."""
RENDER_HEAD = '"""Makes token ids of rows, with labels that say which of them are trained."""\n'
USER_ERROR = '''

class UserError(Exception):
    """An error that a user can fix: what is wrong, and what to do."""

'''
KERNEL_NAMES = f"""Kernel = str
OLDEST_CAPABILITY = {OLDEST_CAPABILITY}  # FlashAttention 2 needs Ampere
"""


def script_files(spec: TrainingSpec, several_cards: bool = False) -> dict[str, str]:
    """run.py, and the worker's own files that it imports, with their imports from fitune replaced."""
    with_unsloth = spec.backend == "unsloth" and not several_cards
    copied = (*COPIED, ATTENTION) if with_unsloth else COPIED
    files = {Path(path).name: _worker_file(path) for path in copied}
    return {"run.py": script(spec, several_cards), "render.py": render_file(), **files}


def _worker_file(path: str) -> str:
    text = (Path(__file__).parents[2] / "worker" / path).read_text(encoding="utf-8")
    text = text.replace("from fitune.core.errors import UserError\n", USER_ERROR)
    text = text.replace("from fitune.core.machine import OLDEST_CAPABILITY, Kernel\n", KERNEL_NAMES)
    readings = f"from collections.abc import Collection\n\n\n{getsource(is_named)}\n\n{getsource(are_named_experts)}\n"
    text = text.replace("from fitune.core.memory import are_named_experts, is_named\n", readings)
    return text.replace("from fitune.core.worker.architecture.targets import", "from targets import")


def render_file() -> str:
    """The text of render.py: the worker's files that render rows, one after another, without imports from fitune."""
    worker = Path(__file__).parents[2] / "worker"
    parts = [_without_own_imports((worker / name).read_text(encoding="utf-8")) for name in RENDERS]
    return RENDER_HEAD + USER_ERROR + "\n\n".join(parts)


def _without_own_imports(source: str) -> str:
    """The source without the lines that import from fitune."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fitune."):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (int(node.end_lineno or 0) - node.lineno + 1)
    return "\n".join(lines) + "\n"
