"""The import contracts of pyproject.toml at run time: they also hold for what a library imports on the side."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STACK = ("torch", "transformers", "datasets", "trl", "peft", "unsloth", "bitsandbytes", "accelerate")
SCREEN = ("textual", "rich")
IMPORT_EACH = """
import importlib, sys
modules, forbidden = (argument.split(",") for argument in sys.argv[1:])
for module in modules:
    importlib.import_module(module)
    found = [name for name in forbidden if name in sys.modules]
    if found:
        sys.exit(f"{module} imports {', '.join(found)}")
"""


def modules(room: str) -> list[str]:
    """Every module of a room of fitune, by its dotted name."""
    files = sorted((ROOT / room).rglob("*.py"))
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return [f"fitune.{name}" for name in names]


CORE = [name for name in modules("core") if not name.startswith("fitune.core.worker")]
TUI = modules("tui")
HEADLESS = (
    "fitune.tui.__main__",
    "fitune.tui.cli",
    "fitune.tui.commands",
    "fitune.tui.watch.event_text",
    "fitune.tui.watch.follow",
    "fitune.tui.text.format",
    "fitune.tui.watch.ending",
    "fitune.tui.watch.progress",
    "fitune.tui.text.clean",
)
PLAIN = [name for name in TUI if name.startswith(HEADLESS)]


def said(names: list[str], forbidden: tuple[str, ...]) -> str:
    command = [sys.executable, "-c", IMPORT_EACH, ",".join(names), ",".join(forbidden)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        pytest.param(CORE, (*STACK, *SCREEN, "fitune.core.worker", "fitune.tui"), id="core"),
        pytest.param(PLAIN, (*STACK, *SCREEN, "fitune.core.worker"), id="commands"),
        pytest.param(TUI, (*STACK, "fitune.core.worker"), id="tui"),
    ],
)
def test_no_module_imports_what_its_room_must_not_know(names: list[str], forbidden: tuple[str, ...]) -> None:
    assert said(names, forbidden) == ""


def test_an_import_of_the_stack_would_be_noticed() -> None:
    assert said(["fitune.core.errors", "rich", "fitune.core.runs.events"], SCREEN) == "rich imports rich\n"
