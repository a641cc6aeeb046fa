"""Quote foreign text for the file it goes into: a comment, YAML, a shell word, a list of arguments."""

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from fitune.core.errors import UserError


def commented(lines: Iterable[str]) -> str:
    """The lines as `#` comments. No text in them can end the comment or control a terminal."""
    return "".join(f"# {''.join(c if c.isprintable() else '?' for c in line)}".rstrip() + "\n" for line in lines)


def quoted(text: str) -> str:
    """A text quoted as one word of a shell command. Raises UserError for line ends or control characters."""
    if not text.isprintable():
        raise UserError(f"{text!a} holds characters that can't be printed.", "Rename it, then hand it off.")
    return shlex.quote(text)


def plain_name(name: str) -> str:
    """The name with letters, digits, dots, underscores and hyphens only, which every scheduler accepts."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "fitune"


def yaml_text(tree: Mapping[str, Any]) -> str:
    """The tree as YAML, in its own order; texts of several lines as blocks."""
    import yaml  # type: ignore[import-untyped]

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True  # a list that occurs twice is written twice, not as an anchor

    def represent(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, represent)
    return str(yaml.dump(dict(tree), Dumper=Dumper, sort_keys=False, width=100))


def call(name: str, arguments: Mapping[str, str], indent: str = "") -> str:
    """A Python call over several lines; the arguments' values are source text already."""
    inner = "".join(f"{indent}    {key}={value},\n" for key, value in arguments.items())
    return f"{name}(\n{inner}{indent})"
