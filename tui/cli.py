"""The command line: its commands and options, and the module of each command."""

import argparse
import gc
import importlib
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from fitune.core import __version__
from fitune.core.errors import UserError

DESCRIPTION = "Fine-tune a language model that fits your GPU, from a terminal."
DATA_TEMPLATES = ("question-answer", "chat", "classification", "extraction", "style", "tools", "preference")
HANDOFF_TARGETS = ("script", "axolotl", "accelerate", "slurm", "skypilot", "vllm", "ollama", "zip")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
BEFORE: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
"""Of a flag that may stand before a command, too: its own default would undo the `--yes` of `fitune --yes train`."""
ROOMS = {
    **dict.fromkeys(("estimate", "fit", "presets", "data", "doctor"), "planning"),
    **dict.fromkeys(("demo", "train", "watch", "runs", "compare", "stop", "resume", "boot", "report"), "running"),
    **dict.fromkeys(("score", "tune-lr"), "scoring"),
    "queue": "queueing",
    **dict.fromkeys(("chat", "merge", "export", "push", "handoff", "fetch"), "delivery"),
}
"""The folder below commands/ of each command; the wizard lies beside them."""
SET_HELP = "change a field; may be given often"
JSON_HELP = "print one JSON document and nothing else"
EXIT_STATUS = "exit status: 0 done, 1 failed, 2 bad input, 3 does not fit, 130 stopped"


class Parser(argparse.ArgumentParser):
    """A parser that names the command or the choice that was most likely meant."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2, and the message."""
        wrong = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        near = get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), 1) if wrong else []
        super().error(f"{message}. Did you mean {near[0]}?" if near else message)


def parser() -> argparse.ArgumentParser:
    """The whole command line of fitune."""
    top: argparse.ArgumentParser = Parser("fitune", description=DESCRIPTION, epilog=EXIT_STATUS)
    top.add_argument("--version", action="version", version=f"fitune {__version__}")
    top.add_argument("--plain", action="store_true", help="ask in numbered lines instead of on a screen")
    top.add_argument("--answers", type=Path, metavar="RECIPE", help="take the answers from a recipe file")
    top.add_argument("--yes", action="store_true", help="with --answers: start at once, without asking")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands (without one: the wizard)")
    top.set_defaults(command="wizard")
    _beginning(commands)
    _following(commands)
    _queueing(commands)
    _using(commands)
    doctor = commands.add_parser("doctor", help="check GPU, driver, CUDA, disk and Hub, and say how to fix them")
    _json(doctor)

    demo = commands.add_parser("demo", help="fine-tune a small real model, on any machine, and see what it learnt")
    demo.add_argument("--steps", type=int, default=None, metavar="N", help="train so many steps")
    return top


def dispatch(args: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status. Raises UserError, also for an option it would ignore."""
    if args.answers and args.command != "wizard":
        raise UserError(f"--answers is for the wizard, and not for {args.command}.", "Leave one of the two out.")
    gc.disable()  # what an import makes stays: to look through it for garbage costs a tenth of a quick command's time
    try:
        command = importlib.import_module(module_of(args.command))
    finally:
        gc.enable()
    return int(command.run(args))


def module_of(command: str) -> str:
    """The module whose `run` carries out a command."""
    room = f"{ROOMS[command]}." if command in ROOMS else ""
    return f"fitune.tui.commands.{room}{command.replace('-', '_')}"


def _beginning(commands: Commands) -> None:
    """Commands before a run, and its start."""
    train = commands.add_parser("train", help="fine-tune as a recipe says", epilog=EXIT_STATUS)
    _recipe(train)
    train.add_argument(
        "--from", dest="begin", metavar="RUN", help="go on from the merged model of a run, in place of model.id"
    )
    train.add_argument("--detach", action="store_true", help="return at once; the run goes on by itself")
    train.add_argument("--yes", **BEFORE, help="start even if the budget says that it does not fit")
    train.add_argument("--fastest", action="store_true", help="take the fastest plan for these rows, same result")
    train.add_argument(
        "--accept-guess", action="store_true", help="where it is not clear what the rows teach, take the first reading"
    )
    _on_end(train, "it has ended")
    _share(train)

    tune = commands.add_parser("tune-lr", help="race four learning rates on your rows, and say which one won")
    _recipe(tune)
    tune.add_argument("--minutes", type=float, default=10.0, metavar="N", help="time that its trainings may take (10)")
    tune.add_argument("--train", action="store_true", help="then train with the rate that won")
    _json(tune)
    _share(tune)

    estimate = commands.add_parser("estimate", help="what a recipe needs in memory; exit status 3 if it does not fit")
    _recipe(estimate)
    _gpu_memory(estimate)
    estimate.add_argument("--calibrate", action="store_true", help="first measure in a short training on made-up rows")
    _json(estimate)

    fit = commands.add_parser("fit", help="the fastest plan that fits the card; exit status 3 if none does")
    _recipe(fit)
    _gpu_memory(fit)
    _json(fit)

    presets = commands.add_parser("presets", help="what there is to start from")
    _gpu_memory(presets)
    _json(presets)

    data = commands.add_parser("data", help="what a file or data set holds; exit status 2 if it can't be trained on")
    data.add_argument("source", nargs="?", help="a file, a folder of files, or a data set's id on the Hub")
    data.add_argument("--template", choices=DATA_TEMPLATES, help="print example rows of a task, to start a file from")
    data.add_argument("--recipe", type=Path, help="read it as this recipe says, and show what its model would see")
    data.add_argument("--model", metavar="ID", help="show what this model would see: a Hub id or a folder")
    _json(data)


def _following(commands: Commands) -> None:
    """Commands for runs that train or have ended."""
    watch = commands.add_parser("watch", help="follow a run, from its first step; leaving lets it go on")
    _run(watch)
    watch.add_argument("--plain", **BEFORE, help="a line a step instead of a screen")

    runs = commands.add_parser("runs", help="list all runs, or compare some")
    _json(runs)
    compare = runs.add_subparsers(metavar="ACTION", title="actions (without one: list)").add_parser(
        "compare", help="runs side by side: what was set, what came of it"
    )
    compare.set_defaults(command="compare")
    compare.add_argument("runs", metavar="RUN", nargs="+", help="a name, a unique part of it, or a path")
    compare.add_argument("--json", **BEFORE, help=JSON_HELP)

    stop = commands.add_parser("stop", help="end a run after this step, with a checkpoint")
    _run(stop, required=True)
    stop.add_argument("--now", action="store_true", help="end it at once, without a checkpoint")

    resume = commands.add_parser("resume", help="go on from the newest checkpoint")
    _run(resume)
    resume.add_argument(
        "--all", action="store_true", help="resume each training that was killed, and the queue, as after a reboot"
    )
    resume.add_argument("--detach", action="store_true", help="return at once")
    resume.add_argument("--gpus", metavar="CARDS", help="go on on other cards: how many, all, or numbers such as 0,1")
    _set(resume)
    _share(resume)

    boot = commands.add_parser("boot", help="let trainings and the queue go on by themselves after a reboot, or not")
    boot.add_argument("switch", choices=("on", "off"), nargs="?", help="without one: say which it is")

    score = commands.add_parser("score", help="is it better: base and tuned model on the same held-out rows")
    _run(score)
    score.add_argument(
        "--data", metavar="FILE", help="score on these rows, and keep that beside the verdict on the held-out ones"
    )
    score.add_argument("--rows", type=int, metavar="N", help="score at most N rows")
    _json(score)
    _share(score)

    report = commands.add_parser("report", help="write what a bug report needs into one file, without secrets")
    _run(report)
    report.add_argument("--out", metavar="FILE", help="write it there; - prints it")


def _queueing(commands: Commands) -> None:
    """Commands for recipes that are trained one after the other."""
    queue = commands.add_parser("queue", help="train recipes one after the other, overnight or when the card is idle")
    actions = queue.add_subparsers(dest="action", metavar="ACTION", title="actions (without one: list)")
    queue.set_defaults(action="list", json=False)

    add = actions.add_parser("add", help="check a recipe and add it; it is kept as it is now")
    _recipe(add, "change a field; several values make an entry each: lora.r=8,16,32. May be given often")
    add.add_argument("--after", metavar="TIME", help="start it not before 22:00, or 2027-01-31T22:00")
    add.add_argument("--when-idle", action="store_true", help="start it only while nobody else uses the card")
    add.add_argument("--yes", **BEFORE, help="add it even if the budget says that it does not fit")
    add.add_argument(
        "--accept-guess", action="store_true", help="where it is not clear what the rows teach, take the first reading"
    )

    shown = actions.add_parser("list", help="what has ended and how, what is at work, what waits")
    _json(shown)

    move = actions.add_parser("move", help="give an entry that waits another place")
    move.add_argument("entry", metavar="RUN", help="the name of its run, or a unique part of it")
    move.add_argument("place", type=int, metavar="PLACE", help="its number among those that wait; 1 is the next")

    remove = actions.add_parser("remove", help="take entries out of the queue; their runs stay")
    remove.add_argument("entries", metavar="RUN", nargs="*", help="the name of its run, or a unique part of it")
    remove.add_argument("--ended", action="store_true", help="take out all that have ended")

    run = actions.add_parser("run", help="start the queue; it goes on by itself, and with what was interrupted")
    _on_end(run, "an entry or all of it has ended")
    actions.add_parser("stop", help="begin nothing more; what is at work goes on to its end")


def _using(commands: Commands) -> None:
    """Commands that use a trained model."""
    chat = commands.add_parser("chat", help="ask the trained model and its base the same, side by side")
    _run(chat)
    chat.add_argument(
        "--prompt", metavar="TEXT", help="ask this, print both answers, and leave; @PATH before it shows an image"
    )
    chat.add_argument("--max-tokens", type=int, default=512, metavar="N", help="cut answers at this length (512)")
    chat.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0: always the likeliest token")
    chat.add_argument("--plain", **BEFORE, help="lines instead of a screen")
    _json(chat)
    _share(chat)

    merge = commands.add_parser("merge", help="write adapter and model as one 16-bit model folder")
    _run(merge, required=True)
    merge.add_argument("--base", metavar="ID", help="merge into this model: the full one of a quantized copy")

    export = commands.add_parser(
        "export",
        help="write the merged model as GGUF files, for llama.cpp and Ollama",
        usage="fitune export [-h] RUN --gguf KIND [KIND ...]",  # the KINDs would take a RUN behind them for one
    )
    _run(export, required=True)
    export.add_argument(
        "--gguf",
        nargs="+",
        action="extend",
        required=True,
        metavar="KIND",
        help="f16, bf16, q8_0, q6_k, q5_k_m or q4_k_m",
    )

    push = commands.add_parser("push", help="upload the adapter to the Hugging Face Hub, privately")
    _run(push, required=True)
    push.add_argument("--repo", required=True, metavar="ID", help="its name there: user/name")
    push.add_argument("--public", action="store_true", help="let everyone see it; asks first")
    what = push.add_mutually_exclusive_group()
    what.add_argument("--merged", action="store_true", help="upload the merged model instead")
    what.add_argument("--gguf", action="store_true", help="upload the GGUF files instead")
    what.add_argument("--checkpoints", action="store_true", help="upload each checkpoint's adapter to a branch instead")
    push.add_argument("--yes", **BEFORE, help="with --public: don't ask")

    handoff = commands.add_parser("handoff", help="what trains or serves it elsewhere, without fitune")
    handoff.add_argument("what", metavar="RUN|RECIPE", nargs="+", help="one; several runs only for vllm")
    handoff.add_argument("--to", required=True, choices=HANDOFF_TARGETS, help="zip packs the adapter to be fetched")
    handoff.add_argument("--out", type=Path, metavar="FOLDER", help="write all files into a new folder, the rows too")
    _set(handoff)

    fetch = commands.add_parser("fetch", help="copy a run from another machine, by your own ssh")
    fetch.add_argument(
        "place", metavar="HOST[:RUN]", help="as ssh knows it; RUN: a name, a part of it, or the run's path"
    )


def _recipe(command: argparse.ArgumentParser, set_help: str = SET_HELP) -> None:
    command.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file (TOML), or the id of a preset")
    _set(command, set_help)


def _set(command: argparse.ArgumentParser, said: str = SET_HELP) -> None:
    command.add_argument("--set", action="append", default=[], metavar="GROUP.KEY=VALUE", help=said)


def _run(command: argparse.ArgumentParser, required: bool = False) -> None:
    said = "its name, a unique part of it, or its path" + ("" if required else "; the newest if not given")
    command.add_argument("run", metavar="RUN", nargs=None if required else "?", help=said)


def _gpu_memory(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gpu-memory", metavar="16GiB", help="judge by a card with so much free instead of this one")


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help=JSON_HELP)


def _on_end(command: argparse.ArgumentParser, when: str) -> None:
    command.add_argument(
        "--on-end",
        metavar="COMMAND",
        help=f"run this in a shell when {when}, well or not: it gets a mail as its input, for 'sendmail "
        "you@example.org', and FITUNE_RUN, FITUNE_STATUS, FITUNE_MESSAGE and FITUNE_FOLDER as variables",
    )
    command.add_argument(
        "--webhook", metavar="NAME", help="send a message then to the web address in this variable or file"
    )


def _share(command: argparse.ArgumentParser) -> None:
    command.add_argument("--share-gpu", action="store_true", help="start even if another run holds the card")
