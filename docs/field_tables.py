"""Tables of the fields of dataclasses, from their docstrings, for the pages docs/files.md and docs/json.md.

The sources are parsed, never imported: some belong to the worker, whose imports take half a minute.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLAIN = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "None": "null"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a dataclass."""

    name: str
    type: ast.expr
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A dataclass: its docstring and its fields, those of its base first."""

    ref: str
    heading: str
    text: str
    fields: tuple[Field, ...]


@cache
def classes() -> dict[str, ast.ClassDef]:
    """Every dataclass of core and tui by its reference, `core/runs/events/progress.py:Step`."""
    return {
        f"{path}:{node.name}": node
        for path, nodes in _modules().items()
        for node in nodes
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list)
    }


@cache
def aliases() -> dict[str, ast.expr]:
    """Every name that stands for a Literal, by its reference, `core/runs/run.py:Status`."""
    return {
        f"{path}:{target.id}": node.value
        for path, nodes in _modules().items()
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal[")
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@cache
def _modules() -> dict[str, list[ast.stmt]]:
    files = sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("tui/**/*.py")])
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()).body for path in files}


def find(name: str, near: str) -> str | None:
    """The reference of a dataclass, as seen from the file of `near`; None if there is no such dataclass."""
    return _nearest(name, near, classes())


def _nearest(name: str, near: str, refs: Iterable[str]) -> str | None:
    """The reference of a name in the file of `near`; if that has none, in the file that it imports the name from."""
    file = near.partition(":")[0]
    same = {ref for ref in refs if ref.endswith(f":{name}")}
    if f"{file}:{name}" in same:
        return f"{file}:{name}"
    if len(same) < 2:
        return next(iter(same), None)
    room = next(
        node.module.removeprefix("fitune.").replace(".", "/")
        for node in _modules()[file]
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]
    )
    (ref,) = (ref for ref in same if ref.startswith(room))
    return ref


def table(ref: str) -> Table:
    """The table of a dataclass."""
    node = classes()[ref]
    bases = [found for base in node.bases if (found := find(ast.unparse(base), ref))]
    inherited = [field for base in bases for field in table(base).fields]
    text = " ".join((ast.get_docstring(node) or "").split())
    return Table(ref, node.name, text, (*inherited, *_fields(node)))


def constant(ref: str, name: str) -> str:
    """The value of a class variable of a dataclass."""
    for item in classes()[ref].body:
        if (
            isinstance(item, ast.AnnAssign)
            and ast.unparse(item.target) == name
            and isinstance(item.value, ast.Constant)
        ):
            return str(item.value.value)
    raise KeyError(f"{ref} has no {name}")


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    for place, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation):
            assert isinstance(item.target, ast.Name)
            after = node.body[place + 1] if place + 1 < len(node.body) else None
            text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            yield Field(item.target.id, item.annotation, " ".join(text.split()))


def rendered(refs: Sequence[str], level: int, known: list[str]) -> str:
    """The tables of dataclasses as Markdown, each followed by those of the classes that its fields are made of.

    known: the references that the page has a table of already; it grows.
    """
    return "\n".join(markdown(ref, level) for ref in _with_parts(refs, known))


def _with_parts(refs: Sequence[str], known: list[str]) -> list[str]:
    added: list[str] = []
    for ref in refs:
        if ref not in known:
            known.append(ref)
            words = [word for field in table(ref).fields for word in re.findall(r"\w+", ast.unparse(field.type))]
            parts = [found for word in words if (found := find(word, ref))]
            added += [ref, *_with_parts(parts, known)]
    return added


def markdown(ref: str, level: int, heading: str = "") -> str:
    """The table of one dataclass as Markdown, under its own name if no heading is given."""
    each = table(ref)
    rows = "".join(f"| `{field.name}` | {in_words(field.type, ref)} | {_cell(field.text)} |\n" for field in each.fields)
    head = f"{'#' * level} {heading or each.heading}\n\n{each.text}\n"
    return f"{head}\n| field | type | meaning |\n|---|---|---|\n{rows}" if rows else head


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def in_words(hint: ast.expr, ref: str) -> str:
    """A type as JSON has it: `whole number or null`, `list of: text`. ref: the class whose field it is."""
    match hint:
        case ast.BinOp(left=left, right=right):
            return f"{in_words(left, ref)}, or {in_words(right, ref)}"
        case ast.Subscript(value=ast.Name(id="Literal")):
            values = hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]
            return ", ".join(f"`{ast.literal_eval(each)}`" for each in values)
        case ast.Subscript(value=ast.Name(id="tuple" | "list" | "Sequence")):
            item = hint.slice.elts[0] if isinstance(hint.slice, ast.Tuple) else hint.slice
            return f"list of: {in_words(item, ref)}"
        case ast.Subscript() | ast.Name(id="Row"):
            return "object"
        case ast.Constant(value=None):
            return "null"
    name = ast.unparse(hint).rpartition(".")[2]
    if find(name, ref):
        return f"object: [{name}](#{name.lower()})"
    alias = _nearest(name, ref, aliases())
    return in_words(aliases()[alias], ref) if alias else PLAIN.get(name, "any value")
