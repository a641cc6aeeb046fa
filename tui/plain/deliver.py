"""Deliver a trained adapter with numbered prompts: the options of the deliver screen, done by fitune's commands."""

import os
import shlex
from collections.abc import Sequence

from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.cli import dispatch, parser
from fitune.tui.deliver.artifacts import RunArtifacts, inspect_run, with_sizes
from fitune.tui.deliver.handoff import default_folder
from fitune.tui.deliver.options import (
    GGUF_KINDS,
    HANDOFF_TARGETS,
    OPTIONS,
    PUSH_OPTIONS,
    DeliveryOption,
    advice,
    amount,
    kind_size,
)
from fitune.tui.deliver.proof_text import table
from fitune.tui.plain.prompt import GoBack, NeedHelp, Prompter

TABLE_COLUMNS = 79
LABEL_COLUMNS = 11


def deliver(prompter: Prompter, run: Run) -> None:
    """Offer the options again and again until the user leaves, or leaves a job running.

    Raises EOFError at the end of the input.
    """
    while run.holder_pid() is None:
        artifacts = with_sizes(inspect_run(run))
        prompter.say("\nThe adapter is ready. What now?")
        options = [f"{option.title:<10}{option.what:<48}{option.state(artifacts)}".rstrip() for option in OPTIONS]
        try:
            chosen = prompter.choose("Number", [*options, "Leave"], len(OPTIONS))
            if chosen == len(OPTIONS):
                return
            if isinstance(chosen, str):
                raise UserError("Type one of the numbers.")
            print_option(prompter, OPTIONS[chosen], artifacts)
            if command := ask_command(prompter, OPTIONS[chosen], artifacts):
                prompter.say(shlex.join(["fitune", *command]))
                dispatch(parser().parse_args(command))
        except UserError as error:
            prompter.say(f"ERROR {error}")
        except (GoBack, SystemExit):  # SystemExit: argparse has rejected an answer
            continue
        except NeedHelp:
            prompter.say("Each option first shows what it needs, and asks before it begins. Enter alone leaves.")


def print_option(prompter: Prompter, option: DeliveryOption, artifacts: RunArtifacts) -> None:
    """Print an option's needs and results, and the proofs of its artifacts."""
    failed = [("failed", advice(proof)) for proof in option.proofs(artifacts) if not proof.passed]
    for label, text in [*failed, *option.describe(artifacts)]:
        prompter.say(f"{label:<{LABEL_COLUMNS}}{text}")
    for proof in option.proofs(artifacts):
        prompter.say("\n".join(["", proof.summary, *table(proof, TABLE_COLUMNS), ""]))


def ask_command(prompter: Prompter, option: DeliveryOption, artifacts: RunArtifacts) -> list[str]:
    """Ask an option's questions and return its command; empty if the user left. Raises UserError."""
    run = str(artifacts.run.path)
    match option.key:
        case "chat":
            return ["chat", run, "--plain"]
        case "merge":
            base = (
                prompter.ask("The full model to merge into", artifacts.full_model or "") if artifacts.quantized else ""
            )
            question = "Merge again, in place of the one that is there?" if artifacts.merged_bytes else "Merge?"
            return ["merge", run, *(["--base", base] if base else [])] if _sure(prompter, question) else []
        case "gguf":
            return ["export", run, "--gguf", *_kinds(prompter, artifacts)]
        case "push":
            return _push(prompter, artifacts)
        case "handoff":
            name = _one(prompter, "For what", HANDOFF_TARGETS)
            folder = prompter.ask("The folder to make", default_folder(artifacts.run, name))
            return ["handoff", run, "--to", name, "--out", os.path.expanduser(folder)]  # no shell expands it
        case "zip":
            return ["handoff", run, "--to", "zip"]
    return []


def _kinds(prompter: Prompter, artifacts: RunArtifacts) -> list[str]:
    if not artifacts.merged_bytes:
        raise UserError("GGUF files are made from the merged model.", "Merge first: it is the option above.")
    for kind, meaning in GGUF_KINDS.items():
        prompter.say(f"     {kind:<8}{kind_size(artifacts, kind):>9}   {meaning}")
    return prompter.ask("Kinds, with a space between", next(iter(GGUF_KINDS))).split()


def _push(prompter: Prompter, artifacts: RunArtifacts) -> list[str]:
    """Ask for kind, name and visibility of a push, then for a confirmation; a public one the command confirms."""
    options = [
        (what, f"{amount(artifacts.pushable[what])}, {use}")
        for what, _, use in PUSH_OPTIONS
        if what in artifacts.pushable
    ]
    word = _one(prompter, "What", options) if len(options) > 1 else "adapter"
    what = next(what for what in artifacts.pushable if what == word)
    proposal = f"{artifacts.run.name}-{'GGUF' if what == 'gguf' else 'model'}"
    repo = prompter.ask("Name of the repository on the Hub (yours, or owner/name)", proposal)
    seen_by = prompter.ask("Who may see it: private (only you) or public (everyone)", "private")
    if seen_by not in ("private", "public"):
        raise UserError("Type private or public.")
    command = ["push", str(artifacts.run.path), "--repo", repo, *([] if what == "adapter" else [f"--{what}"])]
    if seen_by == "public":
        return [*command, "--public"]
    return (
        command
        if _sure(prompter, f"Upload the {what} ({amount(artifacts.pushable[what])}) to {repo}, private?")
        else []
    )


def _one(prompter: Prompter, question: str, options: Sequence[tuple[str, str]]) -> str:
    """Ask for one option and return its word. Raises UserError for anything but a number of one."""
    chosen = prompter.choose(question, [f"{word:<12}{meaning}" for word, meaning in options], 0)
    if isinstance(chosen, str):
        raise UserError("Type one of the numbers.")
    return options[chosen][0]


def _sure(prompter: Prompter, question: str) -> bool:
    return prompter.ask(f"{question} Type yes", "no") == "yes"
