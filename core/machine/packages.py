"""The Python packages of this installation: fitune's pinned versions, and the command that adds the training stack."""

import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fitune.core.errors import UserError

NEEDED = ("torch", "transformers", "trl", "peft", "datasets")
"""Packages that every job of the worker but a push needs. The whole stack is the extra `train` in pyproject.toml."""


def require_training_stack() -> None:
    """Raise UserError, with the command that adds it, if the training stack is not installed."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        message = f"The training stack is not installed ({', '.join(absent)} missing)."
        raise UserError(message, f"Add it (a download of about 3 GB): {add_training_stack()}")


def add_training_stack() -> str:
    """The command that adds the training stack to this installation, for uv tool, pipx, uv or pip."""
    requirement = _with_extra(_origin())
    if (Path(sys.prefix) / "uv-receipt.toml").is_file():
        return f"uv tool install {requirement}"
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return f"pipx install --force {requirement}"
    return f"{shlex.join(installer() or ['pip', 'install'])} {requirement}"


def shareable_requirement() -> str | None:
    """The requirement by which another machine installs this fitune with its training stack; None where it came from
    a folder of this one."""
    origin = _origin()
    url, vcs = str(origin.get("url", "")), origin.get("vcs_info", {})
    if "@" in urlsplit(url).netloc:  # a name or a password
        return None
    if vcs:
        return f"fitune[train] @ {vcs['vcs']}+{url}@{vcs.get('commit_id', 'HEAD')}"
    if url.startswith(("https://", "http://")):
        return f"fitune[train] @ {url}"
    return None if url or not requirements() else f"fitune[train]=={metadata.version('fitune')}"


def installer() -> list[str] | None:
    """The command that installs into this environment: uv, or else pip; None without both (uv makes environments
    without pip)."""
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"] if importlib.util.find_spec("pip") else None


def pins(requirements: Sequence[str]) -> dict[str, str]:
    """Name (with dashes) -> version of those requirements that name one version: `trl==1.15.0; extra == "train"`."""
    matches = (re.match(r"([\w.-]+?)\s*==\s*([\w.]+)", requirement) for requirement in requirements)
    return {requirement[1].replace("_", "-").lower(): requirement[2] for requirement in matches if requirement}


def requirements() -> list[str]:
    """The requirements of fitune, extras included; empty if it is not installed as a package."""
    try:
        return metadata.requires("fitune") or []
    except metadata.PackageNotFoundError:
        return []


def _with_extra(origin: Mapping[str, Any]) -> str:
    """The requirement of fitune with its training stack, quoted for a shell."""
    url = str(origin.get("url", ""))
    if origin.get("dir_info", {}).get("editable"):
        return shlex.join(["--editable", f"{unquote(urlsplit(url).path)}[train]"])
    if vcs := origin.get("vcs_info", {}).get("vcs"):
        url = f"{vcs}+{url}"
    return shlex.quote(f"fitune[train] @ {url}" if url else "fitune[train]")


def _origin() -> dict[str, Any]:
    """The source that fitune was installed from, by direct_url.json (PEP 610); empty for a package index."""
    try:
        text = metadata.distribution("fitune").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return {}
    return dict(json.loads(text)) if text else {}
