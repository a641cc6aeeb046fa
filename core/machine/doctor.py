"""The checks of `fitune doctor`: everything that stops a beginner before the first step, each with its fix."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fitune.core.machine import attention
from fitune.core.machine.check import Check, Status
from fitune.core.machine.host import STACK, Gpu, Machine, describe
from fitune.core.machine.packages import add_training_stack, pins, requirements
from fitune.core.machine.several import check_links, read_links
from fitune.core.machine.torch_build import TorchFacts, ask_torch, capabilities, runs_on
from fitune.core.units import GIB

LOW_DISK_BYTES = 20_000_000_000
MIN_DISK_BYTES = 80_000_000  # an adapter of SmolLM2-135M with one checkpoint takes 86 MB
LOW_RAM_BYTES = 8 * GIB
HELD_BYTES = GIB // 2
"""Memory held by other processes below this amount is not worth a warning."""
UNSEEN_BYTES = 2 * GIB
"""Used memory below this amount without a visible process may be the driver's own."""
HUB_TIMEOUT_S = 3.0
DRIVER_FOR_CUDA = {11: "450.80", 12: "525.60", 13: "580"}
"""Oldest Linux driver for each CUDA (NVIDIA, CUDA Compatibility, minor version compatibility)."""


def run_checks(machine: Machine) -> list[Check]:
    """Run every check on this machine. Takes as long as torch's import plus at most a few seconds for the Hub."""
    checks = diagnose_machine(machine)
    if machine.runs_dir:
        checks.append(check_runs_dir(Path(machine.runs_dir)))
    if machine.versions.get("torch"):
        checks += check_torch(ask_torch(), machine)
        checks.append(check_versions(machine.versions, requirements()))
    if machine.versions.get("unsloth"):
        packages = attention.installed(machine.versions.get("torch"), machine.torch_cuda)
        checks += [attention.check_attention(gpu, packages) for gpu in machine.gpus]
    if machine.versions.get("torch") and machine.gpus:
        checks.append(attention.check_layers(bool(machine.versions.get("unsloth"))))
    return [*checks, *check_hub()]


def failed(checks: Sequence[Check]) -> bool:
    """True if something must be fixed first: `fitune doctor` then exits with 1."""
    return any(check.status == "fail" for check in checks)


def diagnose_machine(machine: Machine) -> list[Check]:
    """Run the checks that need only a Machine."""
    checks = [check_gpus(machine), check_driver(machine)]
    checks += [check_gpu_memory(gpu) for gpu in machine.gpus]
    if len(machine.gpus) > 1:
        checks.append(check_links(machine.gpus, read_links(machine.gpus)))
    return [*checks, check_ram(machine), check_disk(machine)]


def check_gpus(machine: Machine) -> Check:
    """Check that there is a card to train on."""
    if not machine.gpus:
        # Without any card fitune still plans, and trains on the CPU; a card that is there but broken is to be repaired.
        status: Status = "warn" if machine.gpu_state == "none" else "fail"
        return Check("GPU", status, machine.gpu_message, machine.gpu_hint)
    cards = "; ".join(map(describe, machine.gpus))
    if not any(gpu.allowed for gpu in machine.gpus):
        visible = "The variable CUDA_VISIBLE_DEVICES withholds every card"
        return Check("GPU", "fail", f"{visible}: {cards}.", "Unset it, or set it to a number of these.")
    if machine.gpu_message:
        return Check("GPU", "warn", f"{cards}. {machine.gpu_message}", machine.gpu_hint)
    return Check("GPU", "ok", f"{cards}. Driver {machine.driver_version or 'unknown'}.")


def check_driver(machine: Machine) -> Check:
    """Check that the driver supports the CUDA that torch was built for.

    Within one major version any driver runs any build; a newer major version needs a newer driver (CUDA Compatibility).
    """
    name, torch, torch_cuda = "CUDA", machine.versions.get("torch"), machine.torch_cuda
    reinstall = f"uv pip install --reinstall torch=={torch} --torch-backend=auto"
    if torch is None:
        text = "The training stack is not installed: here fitune plans and watches, but does not train."
        return Check("training", "fail", text, f"Add it (a download of about 3 GB): {add_training_stack()}")
    if not machine.gpus:
        return Check(
            name,
            "ok",
            f"torch {torch} is built for {f'CUDA {torch_cuda}' if torch_cuda else 'the CPU'}; no card to use it on.",
        )
    if torch_cuda is None:
        return Check(name, "fail", f"torch {torch} is built for the CPU only, and sees no card.", f"Run `{reinstall}`.")
    if machine.cuda_version is None:
        return Check(
            name, "warn", f"The driver doesn't tell which CUDA it speaks; torch needs {torch_cuda}.", "Try nvidia-smi."
        )
    driver = f"The driver ({machine.driver_version or 'unknown'}) speaks CUDA {machine.cuda_version}"
    have, need = _numbers(machine.cuda_version), _numbers(torch_cuda)
    if have[0] < need[0]:
        oldest = DRIVER_FOR_CUDA.get(need[0])
        update = f"Update the NVIDIA driver{f' to {oldest} or newer' if oldest else ''}"
        text = f"{driver}, but torch {torch} is built for CUDA {torch_cuda}, so it finds no card."
        return Check(name, "fail", text, f"{update}, or get a torch for this driver: `{reinstall}`.")
    if have < need:
        text = (
            f"{driver}; torch {torch} is built for the newer CUDA {torch_cuda}. That works, but not for every feature."
        )
        return Check(name, "warn", text, "Update the NVIDIA driver if a kernel fails to load.")
    return Check(name, "ok", f"{driver}, and torch {torch} is built for {torch_cuda}.")


def check_gpu_memory(gpu: Gpu) -> Check:
    """Check for other processes on the card, since a budget is compared with the free memory."""
    name = f"GPU {gpu.index} memory"
    if gpu.free_bytes is None or gpu.total_bytes is None:
        text = f"{gpu.name} doesn't tell its memory, as boards do that share it with the host."
        return Check(name, "warn", text, "Say how much to plan with: --gpu-memory 16GiB.")
    free = f"{_gib(gpu.free_bytes)} of {_gib(gpu.total_bytes)} are free"
    others = [process for process in gpu.processes or () if process.pid != os.getpid()]
    if others and gpu.total_bytes - gpu.free_bytes > HELD_BYTES:
        holders = "; ".join(
            f"{process.name or 'a process'} (pid {process.pid}{f', {process.user}' if process.user else ''})"
            f"{f' {_gib(process.used_bytes)}' if process.used_bytes else ''}"
            for process in others
        )
        return Check(
            name, "warn", f"{free}; held by {holders}.", "Stop what you don't need, for example with kill PID."
        )
    if gpu.total_bytes - gpu.free_bytes > UNSEEN_BYTES:
        text = f"{free}; the rest is held by processes that can't be seen from here."
        return Check(name, "warn", text, "Look from outside the container, or ask who else uses this card.")
    return Check(name, "ok", f"{free}.")


def check_ram(machine: Machine) -> Check:
    """Check that the host has enough memory to load a model."""
    if machine.ram_available_bytes is None or machine.ram_total_bytes is None:
        return Check("RAM", "warn", "The size of the memory is unknown.")
    text = f"{_gib(machine.ram_available_bytes)} of {_gib(machine.ram_total_bytes)} are available."
    if machine.ram_available_bytes < LOW_RAM_BYTES:
        fix = "Close other programs; loading a model passes its files through here, and offloaded layers stay here."
        return Check("RAM", "warn", text, fix)
    return Check("RAM", "ok", text)


def check_disk(machine: Machine) -> Check:
    """Check that the disk of the runs has room for checkpoints and a merged model."""
    if machine.disk_free_bytes is None:
        return Check("disk", "warn", "The free space is unknown.", "Check that the disk of the runs is there.")
    text = f"{_gib(machine.disk_free_bytes)} are free in {machine.runs_dir}."
    if machine.disk_free_bytes < LOW_DISK_BYTES:
        fix = "Free some, or set FITUNE_HOME to a larger disk: a merged 7B model takes 14 GiB, and checkpoints add up."
        return Check("disk", "fail" if machine.disk_free_bytes < MIN_DISK_BYTES else "warn", text, fix)
    return Check("disk", "ok", text)


def check_torch(torch: TorchFacts, machine: Machine) -> list[Check]:
    """Check that torch can be imported, reaches a card, and has code for each card."""
    if torch.version is None:
        fix = "Reinstall the pinned set: `uv sync --reinstall-package torch` in fitune's folder."
        return [Check("torch", "fail", f"torch can't be imported: {torch.error}.", fix)]
    if not machine.gpus:
        return [Check("torch", "ok", f"torch {torch.version} can be imported.")]
    if torch.error is not None:
        fix = "See the line CUDA; if that is fine, a reboot often helps."
        return [Check("torch", "fail", f"torch {torch.version} can't use the card: {torch.error}.", fix)]
    return [check_kernels(gpu, torch) for gpu in machine.gpus]


def check_kernels(gpu: Gpu, torch: TorchFacts) -> Check:
    """Check that torch has code for a card: else "no kernel image is available" would come after the download."""
    name = f"GPU {gpu.index} kernels"
    if gpu.compute_capability is None:
        return Check(name, "warn", f"{gpu.name} doesn't tell its compute capability.")
    major, minor = gpu.compute_capability
    card = f"{gpu.name} (compute capability {major}.{minor})"
    if runs_on(torch.archs, gpu.compute_capability):
        return Check(name, "ok", f"torch {torch.version} has code for {card}.")
    text = f"torch {torch.version} has no code for {card}, only for {', '.join(torch.archs) or 'the CPU'}."
    if gpu.compute_capability > max(capabilities(torch.archs, "sm"), default=(0, 0)):
        return Check(
            name, "fail", text, "The card is newer than this torch: update fitune, which then pins a newer one."
        )
    plain = (torch.version or "").partition("+")[0]
    fix = f"Try its build for an older CUDA: `uv pip install --reinstall torch=={plain} --torch-backend=cu126`."
    return Check(name, "fail", text, fix)


def check_runs_dir(runs_dir: Path) -> Check:
    """Check that runs can be written, and read by their owner alone."""
    existing = runs_dir.absolute()
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        fix = "Set FITUNE_HOME to a folder of yours, or fix the permissions with chown or chmod."
        return Check(
            "runs", "fail", f"Runs can't be kept in {runs_dir}: {existing} is not a folder you may write to.", fix
        )
    if existing != runs_dir.absolute():
        return Check("runs", "ok", f"Runs will be kept in {runs_dir}, which will be made.")
    if (mode := existing.stat().st_mode & 0o777) & 0o077:
        text = f"Other users may look into {runs_dir} (mode {mode:o}), where your data's samples lie."
        return Check("runs", "warn", text, f"Run `chmod 700 {runs_dir}`.")
    return Check("runs", "ok", f"Runs are kept in {runs_dir}.")


def check_versions(versions: Mapping[str, str | None], requirements: Sequence[str]) -> Check:
    """Check that the training stack is the set that fitune pins. requirements: as in the metadata, `trl==1.15.0`."""
    pinned = pins(requirements)
    if not pinned:
        return Check(
            "versions", "warn", "fitune is not installed as a package, so its pins are unknown.", "Run `uv sync`."
        )
    wrong = [
        f"{package} {versions.get(package) or 'is missing'} (pinned: {pinned[key]})"
        for package in STACK
        if (key := package.replace("_", "-")) in pinned
        and (versions.get(package) or "").partition("+")[0] != pinned[key]
    ]
    missing = any(versions.get(package) is None for package in STACK if package.replace("_", "-") in pinned)
    if wrong:
        text = f"Not the set that was tested together: {'; '.join(wrong)}."
        return Check("versions", "fail" if missing else "warn", text, f"Install that set: {add_training_stack()}")
    return Check("versions", "ok", f"The training stack is the pinned one (unsloth {versions.get('unsloth')}).")


def check_hub() -> list[Check]:
    """Check that the Hugging Face Hub answers and knows the token. The token itself is never shown."""
    from huggingface_hub import constants, get_token

    token = get_token()
    if constants.HF_HUB_OFFLINE:
        text = "HF_HUB_OFFLINE is set: only models and data on this disk can be used."
        return [Check("Hub", "warn", text, "Unset it to download.")]
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        return [Check("Hub", "fail", "The Hub token holds blanks or characters that no token has.", _LOGIN)]
    try:
        status, body = _whoami(constants.ENDPOINT, token)
    except OSError as error:
        text = f"{constants.ENDPOINT} can't be reached ({error})."
        fix = "Check network and proxy. With the model on this disk, set HF_HUB_OFFLINE=1 to save the waiting."
        return [Check("Hub", "warn", text, fix)]
    return [hub_verdict(constants.ENDPOINT, token is not None, status, body)]


_LOGIN = "Run `hf auth login` with a token from the Hub's settings; the variable HF_TOKEN, where set, wins over that."


def hub_verdict(endpoint: str, has_token: bool, status: int, body: Mapping[str, Any]) -> Check:
    """The check's result for an answer of the Hub's whoami. status: of HTTP; body: its JSON, or empty."""
    if status == 200 and not body.get("name"):
        text = f"Something else answers for {endpoint}, perhaps the login page of this network."
        return Check("Hub", "warn", text, "Log in there, or check the proxy.")
    if status == 200:
        role = ((body.get("auth") or {}).get("accessToken") or {}).get("role", "unknown")
        text = f"{endpoint} answers; logged in as {body.get('name')} with a token of role {role}."
        return Check("Hub", "ok", text, "Pushing a model needs a token that may write." if role == "read" else "")
    if status == 401 and has_token:
        text = f"{endpoint} answers, but refuses your token, and with it every download."
        return Check("Hub", "fail", text, _LOGIN)
    if status == 401:
        text = f"{endpoint} answers; no token, so no gated models and no pushing."
        return Check("Hub", "ok", text, "If you need those, run `hf auth login`.")
    return Check("Hub", "warn", f"{endpoint} answers with status {status}.", "Try again later, or check the proxy.")


def _whoami(endpoint: str, token: str | None) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the Hub's whoami. Raises OSError, without any header in its text, if there is no answer."""
    import httpx
    from huggingface_hub import get_session

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = get_session().get(f"{endpoint}/api/whoami-v2", headers=headers, timeout=HUB_TIMEOUT_S)
    except httpx.TimeoutException:
        raise OSError(f"no answer within {HUB_TIMEOUT_S:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(type(error).__name__) from None
    try:
        body = answer.json()
    except ValueError:
        body = {}
    return answer.status_code, body if isinstance(body, dict) else {}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
