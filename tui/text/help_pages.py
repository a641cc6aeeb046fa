"""The help pages behind `?` outside the wizard (watch, deliver, chat), and the glossary."""

import textwrap
from collections.abc import Sequence

from fitune.core.runs.findings import Finding

Page = list[tuple[str, str]]
"""Heading and text of each section."""
EVERYWHERE = (
    ("?, f1", "this help"), ("^p", "Ctrl and P: all commands, and other colours"), ("^c", "Ctrl and C: leave"),
)  # fmt: skip
COLUMNS = 69
"""Width of a help page on a screen of 80 columns, less its scrollbar."""
GLOSSARY = (
    ("adapter", "The small matrices that are trained beside the model, a file of a few MB."),
    ("LoRA", "Training only an adapter; the model itself stays as it is."),
    ("QLoRA, nf4", "LoRA on a model whose weights are kept in 4 bits, so that it fits a small card."),
    ("rank", "How wide the adapter is: how much it can learn."),
    ("token", "A piece of a word; a thousand are about 750 English words."),
    ("epoch", "Once through all rows."),
    ("step", "One change of the weights, after so many rows: Rows at once x Sum up batches."),
    ("loss", "How surprised the model is by the right answer. It should fall."),
    ("held-out", "Rows never trained on, to tell learning from memorising."),
    ("dpo, kto", "Learning from better and worse answers, not from good ones alone; orpo does it, too."),
    ("reward", "There: how much likelier an answer became than it was before the training."),
    ("checkpoint", "A snapshot from which a run goes on after a crash."),
    ("merge", "Writing the adapter into the model, so that both are one."),
    ("GGUF", "The file format of llama.cpp and Ollama."),
)


def _explained(found: Finding) -> str:
    """A finding, one line for each of its parts."""
    parts = (
        ("seen", found.evidence),
        ("cause", found.cause),
        ("what to do", found.remedy),
        ("the change", found.change),
    )
    return two_columns(tuple((name, text) for name, text in parts if text), 12)


def watch_help(found: Sequence[Finding] = (), faults: Sequence[tuple[str, str]] = ()) -> Page:
    """Help on the watch screen, with what went wrong with the run, and what was found, first."""
    shown = (
        ("loss", "surprise at the right answers: falls fast, then slowly"),
        ("held-out", "the same on rows never trained on; rising: it memorises"),
        ("margin", "how far the reward of better answers lies above that of worse ones"),
        ("pairs", "held-out pairs whose better answer has the higher reward"),
        ("lr", "the learning rate now; it falls towards the end"),
        ("grad norm", "how hard the last step pulled; a sudden jump is bad"),
        ("memory", "the most that was taken, beside what was predicted"),
        ("card", "the card's load now, by all its users"),
    )
    keys = (
        ("d", "leave; the run goes on"),
        ("Esc", "to the first screen, with the machine and all runs"),
        ("y", "copy the command that is shown, to your own computer"),
        ("s", "stop after this step, with a checkpoint to go on from"),
        ("k", "end at once; what came after the last checkpoint is lost"),
        ("r", "go on from the last checkpoint, once it is stopped"),
        ("c", "chat with it: the base model and yours, side by side"),
        ("u", "use it: merge, export, push, hand off"),
        ("p", "go on from it with better and worse answers (preferences)"),
        ("l", "the log instead of the curves; / searches, n and N go on"),
        ("z", "the next number in the large chart"),
        ("+ and -", "fewer or more of its steps"),
        ("n", "keep a note with the run"),
        ("Up, Down", "scroll the text below"),
        *EVERYWHERE,
    )
    return [
        *faults,
        *((each.symptom, _explained(each)) for each in found),
        (
            "Watching a run",
            "The run works in a process of its own: this screen only shows it. Leaving it, closing the terminal or "
            "losing the connection stops nothing; `fitune watch` brings it back, from any terminal.",
        ),
        ("What is shown", two_columns(shown, 12)),
        (
            "Typical mistake",
            "Killing a run because nothing seems to happen: the model is loaded first, and the first steps are slow. "
            "The time left is told from the second step on.",
        ),
        ("Keys", two_columns(keys, 12)),
        glossary_page(),
    ]


HOME_KEYS = (
    ("Enter", "open it: watch a run, or start a new one"),
    ("/", "show only the runs that hold these words"),
    ("r", "go on with a run that was stopped or killed"),
    ("c", "chat with it: the base model and yours, side by side"),
    ("u", "use it: merge, export, push, hand off"),
    ("v", "compare: press it on one run, then on another"),
    ("n", "keep a note with it"),
    ("q", "the queue: recipes that are trained one after the other"),
    ("F2", "give it another name"),
    ("x", "delete it; says first what that is and how large"),
    *EVERYWHERE,
)


def home_keys() -> tuple[str, str]:
    """The keys of the first screen, with their heading."""
    return "Keys", two_columns(HOME_KEYS, 12)


def compare_help() -> Page:
    """Help on two runs side by side."""
    keys = (("Up, Down", "scroll the table"), ("Esc", "back to all runs"), *EVERYWHERE)
    return [
        (
            "Comparing two runs",
            "Both charts reach to the last step of the longer run. The table has the settings that differ, and below "
            "them what came of each. Where both have scored the same rows, the verdict between them stands last.",
        ),
        (
            "Typical mistake",
            "Judging by the training loss: a run that has seen its rows more often has a lower one, and may have "
            "learnt them by heart. The held-out loss and the verdict count.",
        ),
        ("Keys", two_columns(keys, 12)),
        glossary_page(),
    ]


def queue_help() -> Page:
    """Help on the queue."""
    keys = (
        ("Enter", "watch its run"),
        ("e, l", "let an entry that waits come earlier or later"),
        ("x", "take it out of the queue; its run stays"),
        ("s, p", "start and stop the queue; what is at work goes on"),
        ("Esc", "back to all runs"),
        *EVERYWHERE,
    )
    return [
        (
            "The queue",
            "Recipes that are trained one after the other, each on the first free card, by a process of its own. You "
            "may close this window. A recipe that fails is told here, and the next one begins. Add one in a shell: "
            "fitune queue add recipe.toml; several values of a field make an entry each: --set lora.r=8,16,32.",
        ),
        (
            "Typical mistake",
            "Adding recipes and going home: the queue must be started once, with s. After a reboot it goes on by "
            "itself if you have asked for that: fitune boot on.",
        ),
        ("Keys", two_columns(keys, 12)),
        glossary_page(),
    ]


def deliver_help() -> Page:
    """Help on the deliver screen."""
    keys = (("Enter", "do it"), ("Space", "scroll the text below"), ("Esc", "back to the run"), *EVERYWHERE)
    return [
        (
            "What to do with it",
            "The adapter is trained and safe on this disk. Each option shows below what it needs, and none of them "
            "changes the adapter. Each result is loaded back and compared before it counts.",
        ),
        (
            "Typical mistake",
            "Merging and uploading before asking it anything: chat with it first, that takes a minute.",
        ),
        (
            "If another program answers garbage",
            "The files are right: each was loaded back and answered as the adapter does, or it would not be here. What "
            "is left is how the model is asked. The other program must use its chat template (Ollama: the Modelfile "
            "beside the GGUF file; vLLM: the folder as it is), the system prompt of your rows, and end at its mark.",
        ),
        ("Keys", two_columns(keys, 12)),
        glossary_page(),
    ]


def chat_help() -> Page:
    """Help on a chat with the trained model; there `?` is part of the question."""
    keys = (
        ("Enter", "ask both"),
        ("Up, Down", "a question from the data, to be asked as it is"),
        ("Page Up, Dn", "scroll the answers"),
        ("^n", "start a new conversation"),
        ("Esc", "stop the answer; else leave"),
        ("f1", "this help"),
        *EVERYWHERE[1:],
    )
    return [
        (
            "Chat",
            "The model as it was and the one that was trained get the same question, so that you see what the training "
            "changed. Each sees only its own answers.",
        ),
        (
            "Typical mistake",
            "Asking about anything at all: it was trained for one thing, so ask for that. Up offers questions "
            "from the data.",
        ),
        (
            "If it answers garbage",
            "If the model as it was does so, too, it is no chat model: choose one that ends in Instruct or it. If only "
            "yours does, the rate was too high or the training too long: `?` on the watch screen says what was found. "
            "If it has no end, the ends of the answers were cut: fitune data SOURCE --model ID.",
        ),
        ("Keys", two_columns(keys, 12)),
        glossary_page(),
    ]


def glossary_page() -> tuple[str, str]:
    """The glossary, with its heading."""
    return "Words", two_columns(GLOSSARY, 12)


def two_columns(pairs: tuple[tuple[str, str], ...], width: int) -> str:
    """Pairs as two columns of text, the first so wide, the second wrapped."""
    indent = " " * width
    wrapped = (textwrap.fill(right, COLUMNS, initial_indent=indent, subsequent_indent=indent) for _, right in pairs)
    return "\n".join(f"{left:<{width}}{text[width:]}" for (left, _), text in zip(pairs, wrapped, strict=True))
