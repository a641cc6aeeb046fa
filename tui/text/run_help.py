"""What `?` says where there is no step: while watching a run, among the ways to use it, and in a chat with it."""

from fitune.tui.text.glossary import columns, words

Page = list[tuple[str, str]]
"""Heading and text of each part."""
EVERYWHERE = (("? or F1", "this help"), ("Ctrl+P", "all commands, and other colours"), ("Ctrl+C", "leave"))


def watch_help() -> Page:
    """Of the watch screen."""
    shown = (
        ("loss", "surprise at the right answers: falls fast, then slowly"),
        ("held-out", "the same on rows never trained on; rising: it memorises"),
        ("lr", "the learning rate now; it falls towards the end"),
        ("grad norm", "how hard the last step pulled; a sudden jump is bad"),
        ("memory", "the most that was taken, beside what was predicted"),
        ("card", "what the card does now, for all its users"),
    )
    keys = (
        ("d", "leave; the run goes on"),
        ("s", "stop after this step, with a checkpoint to go on from"),
        ("k", "end at once; what came after the last checkpoint is lost"),
        ("r", "go on from the last checkpoint, once it is stopped"),
        ("c", "try, merge, export or push what was trained"),
        ("l", "the log instead of the curve"),
        ("n", "keep a note with the run"),
        ("Up, Down", "scroll what is told below"),
        *EVERYWHERE,
    )
    return [
        (
            "Watching a run",
            "The run works in a process of its own: this screen only looks. Leaving it, closing the terminal or losing "
            "the connection stops nothing; `fitune watch` brings it back, from any terminal.",
        ),
        ("What is shown", columns(shown, 12)),
        (
            "Typical mistake",
            "Killing a run because nothing seems to happen: the model is loaded first, and the first steps are slow. "
            "How much time is left is told after 20 steps.",
        ),
        ("Keys", columns(keys, 12)),
        words(),
    ]


def deliver_help() -> Page:
    """Of the ways to use an adapter."""
    keys = (("Enter", "do it"), ("Space", "scroll what is told below"), ("Esc", "back to the run"), *EVERYWHERE)
    return [
        (
            "What to do with it",
            "The adapter is trained and safe on this disk. Each way says below what it needs, and none of them changes "
            "the adapter. What is written is loaded back and compared before it counts.",
        ),
        (
            "Typical mistake",
            "Merging and uploading before asking it anything: try it first, that takes a minute.",
        ),
        ("Keys", columns(keys, 12)),
        words(),
    ]


def chat_help() -> Page:
    """Of a chat with the trained model; there `?` belongs to the question."""
    keys = (
        ("Enter", "ask both"),
        ("Up, Down", "a question from the data, to be asked as it is"),
        ("Page Up, Dn", "scroll the answers"),
        ("Ctrl+N", "forget what was said so far"),
        ("Esc", "stop the answer; else leave"),
        ("F1", "this help"),
        *EVERYWHERE[1:],
    )
    return [
        (
            "Try it",
            "The model as it was and the one that was trained get the same question, so that you see what the training "
            "changed. Each sees only its own answers.",
        ),
        (
            "Typical mistake",
            "Asking about everything under the sun: it was taught one thing, so ask for that. Up offers questions "
            "from the data.",
        ),
        ("Keys", columns(keys, 12)),
        words(),
    ]
