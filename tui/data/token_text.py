"""Rows as the model sees them, token by token, and how long they are. What is trained shows without colour, too."""

from itertools import groupby
from typing import TYPE_CHECKING

from fitune.core.data import numbered
from fitune.core.recipe import Recipe
from fitune.core.tokens import Example, HistogramBin, Packing, PackingReason, Token, TokenStats
from fitune.tui.text import clean, count, percent

if TYPE_CHECKING:
    from rich.text import Text

TRAINED, MASKED, MARK = "bold underline", "dim", "reverse"
LONGEST_TOKEN_CHARS = 400
OVERHANG_TOKENS = 40
"""Of what a cut takes from an example, so much is shown."""
TOLD_GAIN = 1.1
"""A gain by packing is told from here on."""
EIGHTHS = " ▏▎▍▌▋▊▉"
PACKING: dict[PackingReason, str] = {
    "asked": "packed, as the recipe asks",
    "refused": "not packed, as the recipe asks",
    "little_gain": "not packed: too few rows fit into one for it to gain much",
    "too_few_steps": "not packed: too few steps would remain",
    "max_steps": "not packed: with train.max_steps set it would only make each step longer",
    "short_rows": "packed",
}


def legend(unicode: bool = True) -> str:
    """What the marks mean."""
    (opens, closes), (left, right) = _brackets(unicode)
    return f"{opens}trained{closes}   read only   {left}mark of the model{right}"


def example_text(example: Example, cut: int | None = None, unicode: bool = True) -> "Text":
    """A row with brackets around what is trained and around the model's marks, and styles that say the same.

    cut: a line is drawn behind so many tokens, and little of what follows is shown. unicode: whether the terminal can
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
    known = len(example.tokens) if cut is None else min(len(example.tokens), cut + OVERHANG_TOKENS)
    if (more := example.length - known) > 0:
        out.append(f"\n({count(more)} more tokens)", MASKED)
    return out


def _parts(example: Example, cut: int | None) -> list[tuple[str, tuple[Token, ...]]]:
    if cut is None or cut >= len(example.tokens):
        return [("kept", example.tokens)]
    return [("kept", example.tokens[:cut]), ("lost", example.tokens[cut : cut + OVERHANG_TOKENS])]


def _brackets(unicode: bool) -> tuple[tuple[str, str], tuple[str, str]]:
    """Around trained tokens, and around marks."""
    return (("«", "»"), ("‹", "›")) if unicode else (("[[", "]]"), ("`", "`"))


def _shown(token: Token, unicode: bool) -> str:
    text = clean(token.text, LONGEST_TOKEN_CHARS, keep_newlines=True)
    if token.special:
        left, right = _brackets(unicode)[1]
        return f"{left}{text}{right}"
    return text.replace("\n", "⏎\n" if unicode else "\\n\n")


def _style(token: Token) -> str:
    return f"{TRAINED if token.trained else MASKED}{' ' + MARK if token.special else ''}"


def summary_lines(found: TokenStats, recipe: Recipe) -> list[str]:
    """Tokens, what one epoch trains, padding and packing, a line each."""
    length, batch = recipe.model.max_seq_length, recipe.train.micro_batch
    trained = found.trained_per_epoch(recipe)
    padded = found.padding_share(length, batch)
    used = found.source_rows - found.refused
    several = f" (of {count(used)} in the source: some chats need a row for each answer)"
    return [
        f"{numbered('{n} row[|s]', found.rows)}{several if found.rows > used else ''} of "
        f"{count(found.total_tokens)} tokens, the longest {count(found.longest)}",
        f"about {count(trained)} tokens are trained in an epoch "
        f"({percent(found.trained_tokens(length), found.total_tokens)} of all)",
        f"{percent(padded, 1)} of a batch of {batch} is padding, where its rows are filled up to the longest",
        packing_line(found.packing(recipe)),
    ]


def packing_line(found: Packing) -> str:
    """Whether rows will be packed, and what that does: `packed (40 short rows become 5 long ones); 2 steps in all`."""
    become = "become" if found.packed else "would become"
    gain = f" ({count(found.rows)} short rows {become} {numbered('{n} long [one|ones]', found.packed_rows)})"
    return (
        f"{PACKING[found.why]}{gain if found.gain >= TOLD_GAIN else ''}; {numbered('{n} step[|s]', found.steps)} in all"
    )


def histogram_lines(found: TokenStats, length: int, width: int = 72, bins: int = 14, unicode: bool = True) -> list[str]:
    """Rows by tokens as bars, with a line where model.max_seq_length cuts them. At most `width` characters wide."""
    bars = found.histogram(bins, length)
    most = max((bar.rows for bar in bars), default=0)
    labels = [f"{count(bar.low)}-{count(bar.high - 1)}" for bar in bars]
    label_width = max(map(len, labels))
    room = max(4, width - label_width - len(count(most)) - 4)
    rule = ("─" if unicode else "-") * 3
    cut = f"{rule} cut at {count(length)} tokens {rule}"
    lines = []
    for bar, label in zip(bars, labels, strict=True):
        if bar.low == length + 1:
            lines.append(cut)
        lines.append(f"{label:>{label_width}}  {_bar(bar, most, room, unicode)} {count(bar.rows)}".rstrip())
    return lines if cut in lines else [*lines, f"{cut} (behind the longest row)"]


def _bar(bar: HistogramBin, most: int, room: int, unicode: bool) -> str:
    """As long as its share of the fullest; a bar that is not empty shows at least a trace."""
    if not bar.rows:
        return ""
    eighths = max(1, round(8 * room * bar.rows / most))
    if not unicode:
        return "#" * max(1, eighths // 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
