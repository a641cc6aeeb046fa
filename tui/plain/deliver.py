"""What to do with a trained adapter, as numbered prompts: the ways of the deliver screen, done by fitune's commands."""

import os
import shlex
from collections.abc import Sequence

from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.cli import dispatch, parser
from fitune.tui.deliver.artifacts import Facts, look, with_sizes
from fitune.tui.deliver.local import proposed
from fitune.tui.deliver.options import KINDS, PUSHED, TARGETS, WAYS, Way, advice, amount, kind_size
from fitune.tui.deliver.proof_text import table
from fitune.tui.plain.prompt import GoBack, NeedHelp, Prompter

TABLE_COLUMNS = 79
LABEL_COLUMNS = 11


def deliver(prompter: Prompter, run: Run) -> None:
    """Offer the ways, one after the other, until the user leaves or lets a job go on alone.

    Raises EOFError at the end of the input.
    """
    while run.holder_pid() is None:
        facts = with_sizes(look(run))
        prompter.say("\nThe adapter is ready. What now?")
        options = [f"{way.title:<10}{way.what:<48}{way.state(facts)}".rstrip() for way in WAYS]
        try:
            chosen = prompter.choose("Number", [*options, "Leave"], len(WAYS))
            if chosen == len(WAYS):
                return
            if isinstance(chosen, str):
                raise UserError("Type one of the numbers.")
            tell(prompter, WAYS[chosen], facts)
            if command := asked(prompter, WAYS[chosen], facts):
                prompter.say(shlex.join(["fitune", *command]))
                dispatch(parser().parse_args(command))
        except UserError as error:
            prompter.say(f"ERROR {error}")
        except (GoBack, SystemExit):  # the latter: an answer like an option, which the command line has complained of
            continue
        except NeedHelp:
            prompter.say("Each way first tells what it needs, and asks before it begins. Enter alone leaves.")


def tell(prompter: Prompter, way: Way, facts: Facts) -> None:
    """What a way needs and leaves, and the proofs of what it made."""
    failed = [("failed", advice(proof)) for proof in way.proofs(facts) if not proof.passed]
    for label, text in [*failed, *way.told(facts)]:
        prompter.say(f"{label:<{LABEL_COLUMNS}}{text}")
    for proof in way.proofs(facts):
        prompter.say("\n".join(["", proof.summary, *table(proof, TABLE_COLUMNS), ""]))


def asked(prompter: Prompter, way: Way, facts: Facts) -> list[str]:
    """The command that does it, after the questions that it needs; empty if it was left. Raises UserError."""
    run = str(facts.run.path)
    match way.key:
        case "chat":
            return ["chat", run, "--plain"]
        case "merge":
            base = prompter.ask("The full model to merge into", facts.full_model or "") if facts.quantized else ""
            question = "Merge again, in place of the one that is there?" if facts.merged_bytes else "Merge?"
            return ["merge", run, *(["--base", base] if base else [])] if _sure(prompter, question) else []
        case "gguf":
            return ["export", run, "--gguf", *_kinds(prompter, facts)]
        case "push":
            return _push(prompter, facts)
        case "handoff":
            name = _one(prompter, "For what", TARGETS)
            folder = prompter.ask("The folder to make", proposed(facts.run, name))
            return ["handoff", run, "--to", name, "--out", os.path.expanduser(folder)]  # no shell does it here
        case "zip":
            return ["handoff", run, "--to", "zip"]
    return []


def _kinds(prompter: Prompter, facts: Facts) -> list[str]:
    if not facts.merged_bytes:
        raise UserError("GGUF files are made of the merged model.", "Merge first: it is the way above.")
    for kind, told in KINDS.items():
        prompter.say(f"     {kind:<8}{kind_size(facts, kind):>9}   {told}")
    return prompter.ask("Kinds, with a space between", next(iter(KINDS))).split()


def _push(prompter: Prompter, facts: Facts) -> list[str]:
    """What, name, visibility, and all of it once more; a public one is confirmed by the command itself."""
    options = [(what, f"{amount(facts.pushable[what])}, {use}") for what, _, use in PUSHED if what in facts.pushable]
    named = _one(prompter, "What", options) if len(options) > 1 else "adapter"
    what = next(what for what in facts.pushable if what == named)
    proposal = f"{facts.run.name}-{'GGUF' if what == 'gguf' else 'model'}"
    repo = prompter.ask("Name of the repository on the Hub (yours, or owner/name)", proposal)
    seen_by = prompter.ask("Who may see it: private (only you) or public (everyone)", "private")
    if seen_by not in ("private", "public"):
        raise UserError("Type private or public.")
    command = ["push", str(facts.run.path), "--repo", repo, *([] if what == "adapter" else [f"--{what}"])]
    if seen_by == "public":
        return [*command, "--public"]
    return command if _sure(prompter, f"Upload the {what} ({amount(facts.pushable[what])}) to {repo}, private?") else []


def _one(prompter: Prompter, question: str, options: Sequence[tuple[str, str]]) -> str:
    """The word of the option that was chosen. Raises UserError for what is no number of one."""
    chosen = prompter.choose(question, [f"{word:<12}{told}" for word, told in options], 0)
    if isinstance(chosen, str):
        raise UserError("Type one of the numbers.")
    return options[chosen][0]


def _sure(prompter: Prompter, question: str) -> bool:
    return prompter.ask(f"{question} Type yes", "no") == "yes"
