"""`fitune data SOURCE`: report on a data source, problems first; with a model also on its tokens; or example rows."""

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass

from fitune.core.data import Finding, Report, dataset, numbered
from fitune.core.data.templates import templates
from fitune.core.errors import ExitCode, UserError
from fitune.core.memory import Shape, shapes
from fitune.core.recipe import Data, Recipe, load
from fitune.core.records import to_json
from fitune.core.runs import Run, RunState
from fitune.core.tokens import Example, HistogramBin, TokenStats, Truncation, findings
from fitune.tui.data.read import render
from fitune.tui.data.report_text import left_out_lines, row_lines
from fitune.tui.data.token_text import example_text, histogram_lines, legend, summary_lines
from fitune.tui.data.unseen import with_model
from fitune.tui.text import as_ascii_json, clean, encodable, shows_unicode, wrapped

PROGRESS_EVERY_S = 0.5
EXAMPLES_SHOWN = 3
PLACES_SHOWN = 5
"""Places that are shown of each problem; --json has twenty."""


@dataclass(frozen=True, slots=True)
class PackingDocument:
    """The packing decision: several rows in one of full length, and the effect."""

    packed: bool
    """True if rows are packed, several to one of full length."""
    why: str
    """asked, refused: the recipe says so. little_gain, larger_steps: why "auto" does not. compared: the objective
    compares rows. images: rows hold them."""
    rows: int
    """Rows to train on."""
    packed_rows: int
    """Rows of full length that hold them."""
    steps: int
    """Optimizer steps of the run, as decided."""
    gain: float
    """Rows per packed row."""


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """The rows in tokens: what a training with this recipe would see, lose and gain."""

    max_seq_length: int
    """Tokens of the longest row that the recipe allows."""
    rows: int
    """Rows as the model sees them; a chat may become several."""
    tokens: int
    """Tokens of all rows, before any is truncated."""
    longest: int
    """Tokens of the longest row."""
    trained_per_epoch: int
    """Tokens that count for the loss, in each pass over the rows."""
    lost: Truncation
    """The loss from truncating rows to max_seq_length."""
    refused: int
    """Rows that the chat template refuses."""
    blank: int
    """Rows in which nothing is trained."""
    padding_share: float
    """The share of padding in a batch whose rows are filled up to the longest, from 0 to 1."""
    packing: PackingDocument
    """The packing decision and its effect."""
    histogram: tuple[HistogramBin, ...]
    """The number of rows by their length in tokens."""
    problems: tuple[Finding, ...]
    """Problems that only the tokens show."""
    examples: tuple[Example, ...]
    """Some rows as tokens."""


@dataclass(frozen=True, slots=True)
class DataVerdict:
    """The verdict on a source, beside its report."""

    can_train: bool
    """True if a training on it can work."""
    prepared: PreparedDocument | None = None
    """Left out where no model is given, or the source can't be trained on."""


def run(args: argparse.Namespace) -> int:
    """Exit status: 0, or 2 if training on the source can't work. Raises UserError, also where rendering fails."""
    if args.template:
        if args.source is not None or args.json:
            raise UserError("--template prints example rows and nothing else.", "Leave out the source and --json.")
        return _tell_template(args.template)
    if args.source is None and not args.recipe:
        hint = "Name a file, a folder or a data set on the Hub, --recipe RECIPE for its rows, or --template TASK."
        raise UserError("There is nothing to read.", hint)
    data, recipe = _asked(args)
    progress = _Progress("read")
    report = dataset.inspect(data, on_progress=progress)
    progress.end()
    report = with_model(report, recipe) if recipe else report
    stats = _prepared_or_told(recipe, report, args.json) if recipe and report.can_train else None
    problems = findings(stats, recipe) if stats and recipe else ()
    shape = shapes.find(recipe.model) if stats and recipe and recipe.data.packing is True else None
    can_train = report.can_train and all(finding.severity != "stop" for finding in problems)
    if args.json:
        prepared = _prepared_document(stats, recipe, shape, problems) if stats and recipe else None
        print(as_ascii_json(to_json(report) | to_json(DataVerdict(can_train, prepared))))
    else:
        _print_problems((*problems, *report.problems))
        print_report(report)
        if stats and recipe:
            print_token_stats(stats, recipe, shape)
    return ExitCode.DONE if can_train else ExitCode.BAD_INPUT


def _tell_template(name: str) -> int:
    """Print example rows to stdout, and what to know about them to stderr."""
    template = templates()[name]
    print(wrapped(" ".join(template.about.split()), sys.stderr), file=sys.stderr)
    print(f"Keep the rows with: fitune data --template {name} > rows.jsonl", file=sys.stderr)
    print(template.rows, end="")
    return ExitCode.DONE


def _asked(args: argparse.Namespace) -> tuple[Data, Recipe | None]:
    """The data settings, and the recipe to render with: None without --recipe and --model."""
    if not args.recipe:
        minimal = {"model": {"id": "." if args.model is None else args.model}, "data": {"source": args.source}}
        minimal_recipe = load.parse(minimal, "fitune data")
        return minimal_recipe.rows, None if args.model is None else minimal_recipe
    pairs = [] if args.source is None else [f"data.source={args.source}", "data.sources=[]"]
    recipe = load.load(args.recipe, pairs)  # a preset has no rows of its own
    data = recipe.data
    if args.source is not None:
        data = data.model_copy(update={"source": args.source})  # an override drops spaces and quotes around it
    model_changes = {} if args.model is None else {"id": args.model, "revision": None}
    asked = recipe.model_copy(update={"data": data, "model": recipe.model.model_copy(update=model_changes)})
    return asked.rows, asked


def _prepared_or_told(recipe: Recipe, report: Report, as_json: bool) -> TokenStats:
    """The token statistics. Where they can't be had, as without a network, the report is printed before UserError."""
    try:
        return _prepared(recipe)
    except UserError:
        if not as_json:
            _print_problems(report.problems)
            print_report(report)
        raise


def _prepared(recipe: Recipe) -> TokenStats:
    """The token statistics from the prepare job, awaited. Ctrl+C ends the job, too."""
    progress = _Progress("rendered")

    def report_state(_: Run, state: RunState) -> None:
        progress(state.phase.bytes or 0, state.phase.total_bytes or 0)

    stats = render(recipe, report_state)
    progress.end()
    return stats


def _prepared_document(
    stats: TokenStats, recipe: Recipe, shape: Shape | None, problems: tuple[Finding, ...]
) -> PreparedDocument:
    length, packing = recipe.model.max_seq_length, stats.packing(recipe, shape)
    return PreparedDocument(
        max_seq_length=length,
        rows=stats.rows,
        tokens=stats.total_tokens,
        longest=stats.longest,
        trained_per_epoch=stats.trained_per_epoch(recipe),
        lost=stats.truncation_at(length),
        refused=stats.refused,
        blank=stats.blank,
        padding_share=stats.padding_share(length, recipe.train.micro_batch),
        packing=PackingDocument(**dataclasses.asdict(packing), gain=packing.gain),
        histogram=stats.histogram(cut=length),
        problems=problems,
        examples=stats.examples,
    )


def _print_problems(problems: tuple[Finding, ...]) -> None:
    for finding in sorted(problems, key=lambda problem: problem.severity != "stop"):
        mark = "ERROR" if finding.severity == "stop" else "WARN "
        _say(f"{mark} {clean(str(finding.problem))}")
        for place in finding.places[:PLACES_SHOWN]:
            _say(f"      {clean(place, limit=200)}")
        if (more := finding.count - PLACES_SHOWN) > 0 and finding.places:
            _say(f"      and {more:,} more")


def print_report(report: Report) -> None:
    """Print the report."""
    mapping = ", ".join(f"{role} = {column}" for role, column in report.mapping.items())
    usable = numbered("{n} usable row[|s]", report.rows)
    _say(f"{clean(report.source)}: {usable} of {report.rows_read:,}, {report.kind}")
    if report.general:
        _say(numbered("with {n} general row[|s] mixed in (data.replay)", report.general))
    if report.labels:
        _say(clean(f"labels: {', '.join(f'{name} {share:.0%}' for name, share in report.labels.items())}", 400))
    if report.languages:
        _say(f"answers in: {', '.join(f'{name} {share:.0%}' for name, share in report.languages.items())}")
    for line in left_out_lines(report):
        _say(line)
    if 0 < report.compared_rows < report.rows:
        _say(f"rows that say nearly the same: looked for among the first {report.compared_rows:,}")
    said = f"format: {report.format}{'' if report.sure else ' (not sure)'}; {clean(report.why)} {clean(mapping)}"
    _say(said.rstrip())
    for column, kinds in report.columns.items():
        _say(f"  {clean(column)}: {clean(kinds)}")
    for row in report.preview[:2]:
        _say()
        for line in row_lines(row):
            _say(f"  {line}")


def print_token_stats(stats: TokenStats, recipe: Recipe, shape: Shape | None) -> None:
    """Print the token statistics: lengths with the cut line, then a few rows token by token."""
    from rich.console import Console

    if not stats.rows:
        return  # the problems above say why
    length, unicode = recipe.model.max_seq_length, shows_unicode(sys.stdout.encoding)
    _say()
    for line in (*summary_lines(stats, recipe, shape), "", *histogram_lines(stats, length, unicode=unicode)):
        _say(line)
    _say(f"\nRows as {clean(recipe.model.id)} sees them: {legend(unicode)}")
    console = Console(highlight=False)  # without colours and styles where stdout is no terminal
    for example in _chosen(stats):
        _say(f"\nrow {example.row + 1:,}, {example.length:,} tokens:")
        console.print(example_text(example, length, unicode), soft_wrap=True)


def _chosen(stats: TokenStats) -> list[Example]:
    """The first, one in the middle, and the longest of the examples."""
    examples = stats.examples
    longest = max(range(len(examples)), key=lambda index: examples[index].length, default=0)
    indices = dict.fromkeys([0, len(examples) // 2, longest])
    return [examples[index] for index in indices][:EXAMPLES_SHOWN] if examples else []


def _say(text: str = "") -> None:
    print(encodable(wrapped(text, sys.stdout), sys.stdout.encoding))


class _Progress:
    """A line on a terminal that shows the progress."""

    def __init__(self, what: str) -> None:
        self._what, self._printed_s, self._shown = what, time.monotonic(), False

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._printed_s > PROGRESS_EVERY_S:
            self._printed_s, self._shown = time.monotonic(), True
            print(f"\r{self._what} {done_bytes / max(1, total_bytes):.0%} ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the line."""
        if self._shown:
            print("\r" + " " * (len(self._what) + 6) + "\r", end="", file=sys.stderr, flush=True)
