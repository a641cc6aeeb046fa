"""Which pictures there are: the screen of each, and how to come to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands on the screen: a wizard at a step, or a run; and the keys pressed on it."""

    step: str = ""
    run: str = ""
    keys: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()
    """Of the wizard's fields, beside the source of the data."""
    plain_glyphs: bool = False

    @property
    def moves(self) -> bool:
        """Whether something goes on in it."""
        return not self.step or ("data.source", "long.jsonl") in self.edits


RANK, CUT = (("lora.r", "32"),), (("model.max_seq_length", "192"),)
TO_GGUF = ("u", "down", "down")
TO_PUSH = (*TO_GGUF, "down")
ALL = {
    "start": Picture("start"),
    "start-runs": Picture("start", run="all"),
    "preset": Picture("preset"),
    "preset-ask": Picture("preset", keys=("ctrl+g",)),
    "preset-planned": Picture("preset", keys=("ctrl+g", *"24", "enter")),
    "edit": Picture("edit", keys=("down", "down", "down"), edits=RANK),
    "edit-plain": Picture("edit", keys=("down", "down", "down"), edits=RANK, plain_glyphs=True),
    "edit-wrong": Picture("edit", keys=("down", "down", *"7")),
    "edit-over": Picture("edit", keys=("down", "down", *"16384")),
    "edit-more": Picture("edit", keys=("ctrl+t",)),
    "data": Picture("data"),
    "data-none": Picture("data", edits=(("data.source", ""),)),
    "data-wrong": Picture("data", edits=(("data.source", "broken.jsonl"),)),
    "data-mapping": Picture("data", edits=(("data.source", "unsure.jsonl"),)),
    "data-lengths": Picture("data", keys=("tab", "tab")),
    "data-tokens": Picture("data", keys=("tab", "tab", "tab", "right")),
    "data-rows": Picture("data", keys=("tab", "tab", "tab", "tab")),
    "data-plain": Picture("data", keys=("tab", "tab", "tab"), plain_glyphs=True),
    "data-cut": Picture("data", edits=CUT, keys=("tab",)),
    "data-cut-lengths": Picture("data", edits=CUT, keys=("tab", "tab")),
    "data-cut-tokens": Picture("data", edits=CUT, keys=("tab", "tab", "tab", "left")),
    "data-cut-more": Picture("data", edits=CUT, keys=("tab", "tab", "ctrl+l")),
    "data-masked": Picture("data", edits=(("model.max_seq_length", "48"),), keys=("tab", "enter")),
    "data-counting": Picture("data", edits=(("data.source", "long.jsonl"),)),
    "data-not-counted": Picture("data", edits=(("data.source", "away.jsonl"),)),
    "review": Picture("review", edits=RANK),
    "review-over": Picture("review", edits=(("model.quant", "bf16"),)),
    "review-push": Picture("review", keys=("enter",), edits=(("deliver.push_repo", "you/sums"),)),
    "help": Picture("edit", keys=("down", "down", "down", "question_mark"), edits=RANK),
    "help-step": Picture("start", keys=("question_mark",)),
    "palette": Picture("edit", keys=("ctrl+p",)),
    "leave-wizard": Picture("edit", keys=("ctrl+c",), edits=RANK),
    "watch": Picture(run="live"),
    "watch-plain": Picture(run="live", plain_glyphs=True),
    "watch-log": Picture(run="live", keys=("l",)),
    "watch-note": Picture(run="live", keys=("n",)),
    "watch-finished": Picture(run="demo"),
    "watch-failed": Picture(run="oom"),
    "watch-killed": Picture(run="killed"),
    "watch-new": Picture(run="new"),
    "merge": Picture(run="merge"),
    "merge-finished": Picture(run="merged"),
    "merge-failed": Picture(run="spoiled"),
    "stop": Picture(run="live", keys=("s",)),
    "kill": Picture(run="live", keys=("k",)),
    "leave": Picture(run="live", keys=("ctrl+c",)),
    "push": Picture(run="push"),
    "leave-push": Picture(run="push", keys=("ctrl+c",)),
    "deliver": Picture(run="demo", keys=("u",)),
    "deliver-merge": Picture(run="demo", keys=("u", "down")),
    "deliver-gguf": Picture(run="demo", keys=TO_GGUF),
    "deliver-push": Picture(run="merged", keys=TO_PUSH),
    "deliver-merged": Picture(run="merged", keys=("u", "down")),
    "deliver-failed": Picture(run="spoiled", keys=("u", "down")),
    "gguf-kinds": Picture(run="merged", keys=(*TO_GGUF, "enter")),
    "handoff-target": Picture(run="demo", keys=(*TO_PUSH, "down", "enter")),
    "handoff-done": Picture(run="demo", keys=(*TO_PUSH, "down", "enter", *["down"] * 5, "enter", "enter")),
    "zip": Picture(run="demo", keys=(*TO_PUSH, "down", "down", "enter")),
    "files": Picture(run="merged", keys=(*TO_PUSH, "down", "down", "down")),
    "push-what": Picture(run="merged", keys=(*TO_PUSH, "enter")),
    "push-name": Picture(run="demo", keys=(*TO_PUSH, "enter")),
    "push-who": Picture(run="demo", keys=(*TO_PUSH, "enter", "enter")),
    "push-confirm": Picture(run="demo", keys=(*TO_PUSH, "enter", "enter", "enter")),
}
README = {"home": ALL["start-runs"], "edit": ALL["edit"], "data": ALL["data-tokens"], "watch": ALL["watch"]}
