"""The import contracts of pyproject.toml at run time: they also hold for what a library imports on the side."""

import subprocess
import sys
import tomllib
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


def modules(folder: str) -> list[str]:
    """Every module under a folder, by its dotted name."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


CORE = [name for name in modules("core") if not name.startswith("core.worker")]
TUI = modules("tui")
HEADLESS = (
    "tui.__main__",
    "tui.cli",
    "tui.commands",
    "tui.event_lines",
    "tui.follow",
    "tui.format",
    "tui.story",
    "tui.text",
)
PLAIN = [name for name in TUI if name.startswith(HEADLESS)]


def said(names: list[str], forbidden: tuple[str, ...]) -> str:
    command = [sys.executable, "-c", IMPORT_EACH, ",".join(names), ",".join(forbidden)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        pytest.param(CORE, (*STACK, *SCREEN, "core.worker", "tui"), id="core"),
        pytest.param(PLAIN, (*STACK, *SCREEN, "core.worker"), id="commands"),
        pytest.param(TUI, (*STACK, "core.worker"), id="tui"),
    ],
)
def test_no_module_imports_what_its_room_must_not_know(names: list[str], forbidden: tuple[str, ...]) -> None:
    assert said(names, forbidden) == ""


def test_an_import_of_the_stack_would_be_noticed() -> None:
    assert said(["core.errors", "rich", "core.events"], SCREEN) == "rich imports rich\n"


def test_every_module_outside_the_worker_is_under_the_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = [each["source_modules"] for each in contracts if "tui" in each["source_modules"]]
    assert len(listed) == 2
    tops = {name for name in CORE if name.count(".") == 1}
    for names in listed:
        assert set(names) == {"tui", *tops}
