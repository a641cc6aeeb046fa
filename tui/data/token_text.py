"""Rows as text, token by token, with brackets around trained tokens; their lengths and packing as lines."""

from itertools import groupby
from typing import TYPE_CHECKING

from fitune.core.data import numbered
from fitune.core.memory import Shape
from fitune.core.recipe import Recipe
from fitune.core.tokens import Example, HistogramBin, Packing, PackingReason, Token, TokenStats
from fitune.tui.text import clean, count, percent

if TYPE_CHECKING:
    from rich.text import Text

TRAINED, MASKED, MARK = "bold underline", "dim", "reverse"
LONGEST_TOKEN_CHARS = 400
OVERHANG_TOKENS = 40
"""Number of tokens after the cut that are shown of an example."""
SHOWN_GAIN = 1.1
"""The gain from packing is shown from this value on."""
EIGHTHS = " ▏▎▍▌▋▊▉"
PACKING: dict[PackingReason, str] = {
    "asked": "packed, as the recipe asks",
    "refused": "not packed, as the recipe asks",
    "little_gain": "not packed: too few rows fit into one for it to gain much",
    "compared": "not packed: answers are compared row by row",
    "images": "not packed: rows hold images",
    "not_apart": "not packed, though the recipe asks: in this model a packed row would see the one before it",
    "larger_steps": "not packed: a step would hold more rows, and an epoch teach less",
}


def legend(unicode: bool = True) -> str:
    """The meaning of the brackets."""
    (opens, closes), (left, right) = _brackets(unicode)
    return f"{opens}trained{closes}   read only   {left}mark of the model{right}"


def example_text(example: Example, cut: int | None = None, unicode: bool = True) -> "Text":
    """A row with brackets and styles for trained tokens and for special tokens.

    cut: a line is drawn after this many tokens, and only a few of the following are shown. unicode: the terminal can
    show more than ASCII.
    """
    from rich.text import Text

    (opens, closes), _ = _brackets(unicode)
    out = Text()
    for part, tokens in _parts(example, cut):
        for trained, run in groupby(tokens, key=lambda token: token.trained):
            out.append(opens if trained else "", TRAINED)
            for token in run:
                out.append(_shown(token, unicode), _style(token))
            out.append(closes if trained else "", TRAINED)
        if part == "kept" and cut is not None and example.length > cut:
            rule = "─" if unicode else "-"
            out.append(f"\n{rule * 4} cut at {count(cut)} tokens: what follows is lost {rule * 4}\n", "bold")
    shown = len(example.tokens) if cut is None else min(len(example.tokens), cut + OVERHANG_TOKENS)
    if (more := example.length - shown) > 0:
        out.append(f"\n({count(more)} more tokens)", MASKED)
    return out


def _parts(example: Example, cut: int | None) -> list[tuple[str, tuple[Token, ...]]]:
    if cut is None or cut >= len(example.tokens):
        return [("kept", example.tokens)]
    return [("kept", example.tokens[:cut]), ("lost", example.tokens[cut : cut + OVERHANG_TOKENS])]


def _brackets(unicode: bool) -> tuple[tuple[str, str], tuple[str, str]]:
    """The brackets around trained tokens, and around special tokens."""
    return (("«", "»"), ("‹", "›")) if unicode else (("[[", "]]"), ("`", "`"))


def _shown(token: Token, unicode: bool) -> str:
    text = clean(token.text, LONGEST_TOKEN_CHARS, keep_newlines=True)
    if token.special:
        left, right = _brackets(unicode)[1]
        return f"{left}{text}{right}"
    return text.replace("\n", "⏎\n" if unicode else "\\n\n")


def _style(token: Token) -> str:
    return f"{TRAINED if token.trained else MASKED}{' ' + MARK if token.special else ''}"


def summary_lines(stats: TokenStats, recipe: Recipe, shape: Shape | None) -> list[str]:
    """Tokens, trained tokens of an epoch, padding and packing, a line each. shape: the model's; None: not known."""
    length, batch = recipe.model.max_seq_length, recipe.train.micro_batch
    trained = stats.trained_per_epoch(recipe)
    padded = stats.padding_share(length, batch)
    used = stats.source_rows - stats.refused
    several = f" (of {count(used)} in the source: some chats need a row for each answer)"
    if recipe.train.texts > 1:
        several = f" (of {count(used)} in the source: one for each answer)"
    return [
        f"{numbered('{n} row[|s]', stats.rows)}{several if stats.rows > used else ''} of "
        f"{count(stats.total_tokens)} tokens, the longest {count(stats.longest)}",
        f"about {count(trained)} tokens are trained in an epoch "
        f"({percent(stats.trained_tokens(length), stats.total_tokens)} of all)",
        f"{percent(padded, 1)} of a batch of {batch} is padding, where its rows are filled up to the longest",
        packing_line(stats.packing(recipe, shape)),
    ]


def packing_line(packing: Packing) -> str:
    """The packing decision and its effect: `packed (40 short rows become 5 long ones); 2 steps in all`."""
    become = "become" if packing.packed else "would become"
    gain = f" ({count(packing.rows)} short rows {become} {numbered('{n} long [one|ones]', packing.packed_rows)})"
    shown_gain = gain if packing.gain >= SHOWN_GAIN else ""
    return f"{PACKING[packing.why]}{shown_gain}; {numbered('{n} step[|s]', packing.steps)} in all"


def histogram_lines(stats: TokenStats, length: int, width: int = 72, bins: int = 14, unicode: bool = True) -> list[str]:
    """Rows by tokens as bars, with a line where model.max_seq_length cuts them. At most `width` characters wide."""
    bars = stats.histogram(bins, length)
    fullest = max((bar.rows for bar in bars), default=0)
    labels = [f"{count(bar.low)}-{count(bar.high - 1)}" for bar in bars]
    label_width = max(map(len, labels))
    room = max(4, width - label_width - len(count(fullest)) - 4)
    rule = ("─" if unicode else "-") * 3
    cut = f"{rule} cut at {count(length)} tokens {rule}"
    lines = []
    for bar, label in zip(bars, labels, strict=True):
        if bar.low == length + 1:
            lines.append(cut)
        lines.append(f"{label:>{label_width}}  {_bar(bar, fullest, room, unicode)} {count(bar.rows)}".rstrip())
    return lines if cut in lines else [*lines, f"{cut} (behind the longest row)"]


def _bar(bar: HistogramBin, fullest: int, room: int, unicode: bool) -> str:
    """A bar as long as its share of the fullest one; a bar that is not empty shows at least a trace."""
    if not bar.rows:
        return ""
    eighths = max(1, round(8 * room * bar.rows / fullest))
    if not unicode:
        return "#" * max(1, eighths // 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
