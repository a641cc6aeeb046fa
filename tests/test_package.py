"""The wheel: one import name, every file of it, and no training stack unless it is asked for."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STACK = {"torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "unsloth", "unsloth-zoo", "gguf"}
STACK |= {"sacrebleu"}
RECIPE = '[model]\nid = "Qwen/Qwen3-8B"\n[data]\nsource = "rows.jsonl"\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", each.replace("_", "-"))[0] for each in requirements}


def test_fitune_is_the_only_name_that_is_installed(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"fitune", next(top for top in tops if top.endswith(".dist-info"))}


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: Path) -> None:
    rooms = subprocess.check_output(["git", "ls-files", "core", "tui", "presets"], cwd=ROOT, text=True).splitlines()
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"fitune/{name}" for name in rooms if (ROOT / name).exists()} <= inside
    assert "fitune/py.typed" in inside


def test_the_training_stack_comes_only_with_its_extra(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    text = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    asked = re.findall("^Requires-Dist: (.+)$", text, re.MULTILINE)
    assert names([each for each in asked if "extra == 'train'" in each]) == STACK
    assert not STACK & names([each for each in asked if "extra ==" not in each])


def test_outside_the_worker_only_packages_that_every_installation_has_are_imported() -> None:
    files = [file for room in ("core", "tui") for file in (ROOT / room).rglob("*.py") if "worker" not in file.parts]
    imported = {name for file in files for name in imports(file)} - set(sys.stdlib_module_names) - {"fitune"}
    packages, installed = names(PROJECT["dependencies"]), metadata.packages_distributions()
    assert not {name for name in imported if packages.isdisjoint(names([each.lower() for each in installed[name]]))}


def imports(file: Path) -> set[str]:
    """The top names of all that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.extra
def test_an_empty_environment_gets_a_fitune_that_does_everything_but_train(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "v"], check=True)
    python = tmp_path / "v" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n' * 20)

    def fitune(*arguments: str) -> subprocess.CompletedProcess[str]:
        command, environment = [str(python.with_name("fitune")), *arguments], {"FITUNE_HOME": str(tmp_path / "home")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    for arguments in (
        ["--help"],
        ["presets", "--gpu-memory", "16GiB"],
        ["estimate", "recipe.toml", "--gpu-memory", "12GiB"],
        ["fit", "recipe.toml", "--gpu-memory", "12GiB"],
        ["data", "rows.jsonl"],
        ["runs"],
        ["handoff", "recipe.toml", "--to", "script"],
    ):
        done = fitune(*arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (arguments, done.stderr)
    for arguments in (["train", "recipe.toml"], ["demo"], ["doctor"]):
        done = fitune(*arguments)
        assert done.returncode
        assert "fitune[train] @ file://" in done.stdout + done.stderr
    assert not list((tmp_path / "home" / "runs").glob("*-*"))
    for name in ("core", "tui", "presets"):
        assert subprocess.run([python, "-c", f"import {name}"], cwd=tmp_path, capture_output=True).returncode == 1
    subprocess.run([python, "-c", "import fitune.core"], cwd=tmp_path, check=True)
