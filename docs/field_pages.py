"""The pages docs/files.md and docs/json.md: every file of a run and every JSON document, field by field."""

from docs.field_tables import constant, markdown, rendered
from fitune.core.runs.events import TYPES

FILES = """# The files of a run

A run is a folder in `$FITUNE_HOME/runs` (without that variable: `~/.local/share/fitune/runs`), readable by you alone.
This page is made by `docs/generate.py` from the docstrings of the code.

| file | content | written by |
|---|---|---|
| `run.json` | [recipe, versions, budget](#runjson) | the command that starts the run, once |
| `changes.json` | fields of the recipe that a resume or a recovery has changed, by `group.key` | both of these |
| `events.jsonl` | [all that happens, a line an event](#eventsjsonl) | the worker |
| `worker.log` | what the worker and its libraries print | the worker |
| `lock` | [who works](#the-small-files); held with `lockf` while the worker lives, touched every 5 s | the worker |
| `stop` | empty; its presence asks the worker to stop, with a checkpoint | any command |
| `checkpoints/` | `checkpoint-N/`, from which a run resumes; whole, with digests in `manifest.json` | the worker |
| `checkpoints/checkpoint-N.damaged` | a checkpoint that a resume found damaged, and passed over | the worker |
| `adapter/` | the result, which plain PEFT loads; appears whole | the worker |
| `merged/` | adapter and base model as one, with `proof.json`; appears whole | the merge job |
| `gguf/` | GGUF files, each with its proof, and an Ollama `Modelfile`; each appears whole | the export job |
| `merged.failed/` | a merged model that failed its proof | the merge job |
| `rows.json` | [what the rows were](#the-small-files), so that a change is noticed | the worker |
| `replay.jsonl` | the base model's own answers to general prompts, where `data.replay` asks for them | the worker |
| `base.json` | [the same](#the-small-files) of a base model in a folder | the worker |
| `start.safetensors` | how an adapter started that changed its base (PiSSA, OLoRA) | the worker |
| `looks/` | [the losses of held-out rows](#the-small-files), and adapters that may be delivered | the worker |
| `scores.json` | [base and tuned model on the run's own held-out rows](#the-small-files) | the worker, the score job |
| `scores/` | the same on other rows: a file for each data set and number of rows | the score job |
| `race.json` | [the race of learning rates](#the-small-files) | the tune-lr job |
| `merge.json`, `export.json`, `push.json` | [the request](#the-small-files) of the newest job | the command |
| `score.json`, `tune-lr.json` | the same | the command |
| `on_end.log` | what a command of `--on-end` printed, and what of it failed | the process that waits for the end |
| `chat.log` | what the process with the model in it prints | `fitune chat` |
| `notes.txt` | your notes, a line each, with time and step | the watch screen |
| `tensorboard/`, `wandb/` | what a tracker writes, where the recipe names one | the worker |
| `handoff-TARGET/` | what `fitune handoff` or the deliver menu wrote | the deliver menu |
| `NAME-adapter.zip` | the adapter, to be copied to another machine | the deliver menu |
| `work/`, `NAME.part` | not finished; removed at the end of the job | the worker |

Beside the runs lies `prepare/`, with a folder like a run's for each data set whose tokens were counted (`prepared.json`
is the answer), `races/` with one for each race of `fitune tune-lr`, `queue/` with [queue.json](#queuejson) and
`runner.log`, what its process did when, `on_end/` with [what is done at the end](#on_endtimejson) of a run (its folder
may come from someone else, and no command is taken from there), `fetching/` with copies that were cut off, and
`learned.jsonl`, a line a training: what it took. That holds no data and no secrets; delete it to forget. `bytecode/`
holds what Python compiled of the training stack, where that can't be kept beside it.

"null" or a field that is left out is not known. Readers should ignore fields and types of events that they do not know.
"""
EVENTS = """## events.jsonl

Append only, with one writer. Each line is a JSON object:

| field | type | meaning |
|---|---|---|
| `v` | whole number | version of this format: 1 |
| `seq` | whole number | number of the line, from 1 |
| `t` | number | UTC seconds |
| `job` | text | train, prepare, score, tune-lr, merge, export or push; one works at a time |
| `type` | text | type of the event |
| `data` | object | the fields below |

A line that is torn, at the end or after a crash, is no event. The last event of a job is `finished` or `failed`; a
worker that is dead and has written neither was killed. A field that is not known is left out.
"""
EVENT_TYPES = [f"{kind.__module__.removeprefix('fitune.').replace('.', '/')}.py:{kind.__name__}" for kind in TYPES]
SMALL_FILES = {
    "lock": "core/runs/lock.py:LockNote",
    "merge.json": "core/deliver/requests.py:MergeRequest",
    "export.json": "core/deliver/requests.py:ExportRequest",
    "push.json": "core/deliver/requests.py:PushRequest",
    "score.json": "core/deliver/requests.py:ScoreRequest",
    "tune-lr.json": "core/deliver/requests.py:RaceRequest",
    "on_end/TIME.json": "core/at_end/notice.py:OnEnd",
    "rows.json": "core/worker/rows/training_rows.py:RowsDigest",
    "base.json": "core/worker/changed_base.py:WeightsDigest",
}
NESTED_FILES = {
    "scores.json": "core/score/scores.py:Scores",
    "looks/looks.json": "core/score/losses.py:Looks",
    "race.json": "core/score/race.py:Race",
    "queue.json": "core/queue/entries.py:Queue",
}
"""Files whose records hold others."""
JSON = """# The JSON of the commands

With `--json`, these commands print one JSON document to stdout and nothing else. Keys carry their units: `_bytes`, `_s`
for seconds, `_gib`. This page is made by `docs/generate.py` from the docstrings of the code.
"""
DOCUMENTS = {
    "fitune estimate RECIPE": ("An object.", ["core/forecast/documents.py:EstimateDocument"]),
    "fitune fit RECIPE": ("An object.", ["core/forecast/documents.py:FitDocument"]),
    "fitune presets": ("A list of objects, the best first.", ["core/forecast/documents.py:PresetDocument"]),
    "fitune data SOURCE": (
        "An object with the fields of Report and those of DataVerdict.",
        ["core/data/checks/report.py:Report", "tui/commands/planning/data.py:DataVerdict"],
    ),
    "fitune doctor": ("An object.", ["tui/commands/planning/doctor.py:DoctorDocument"]),
    "fitune runs": ("A list of objects, the newest first.", ["tui/home/documents.py:RunDocument"]),
    "fitune runs compare A B C": (
        "An object.",
        ["tui/home/comparison.py:ComparisonDocument", "tui/home/comparison.py:Result"],
    ),
    "fitune queue list": (
        "`runner_pid`, the process that runs the queue, or null, and `entries`, a list of objects: those that have "
        "ended, that are at work, that wait.",
        ["tui/home/queue_rows.py:EntryDocument"],
    ),
    "fitune score RUN": (
        "`sentence`, the verdict in words, and these fields.",
        ["core/score/scores.py:Scores"],
    ),
    "fitune tune-lr RECIPE": ("An object.", ["core/score/race.py:Race"]),
    "fitune chat RUN --prompt TEXT": (
        "An object with the answers of both sides, `base` and `tuned`.",
        ["tui/commands/delivery/chat.py:AnswerDocument"],
    ),
}


def pages() -> dict[str, str]:
    """Each page by its file name."""
    return {"files.md": files(), "json.md": json()}


def files() -> str:
    """Every file of a run, field by field."""
    events = [markdown(ref, 3, constant(ref, "type")) for ref in EVENT_TYPES]
    small = [markdown(ref, 3, file) for file, ref in SMALL_FILES.items()]
    nested = [f"### {file}\n\n{rendered([ref], 4, [])}" for file, ref in NESTED_FILES.items()]
    info = rendered(["core/runs/info.py:RunInfo"], 3, [])
    return "\n".join([FILES, "## run.json\n", info, EVENTS, *events, "## The small files\n", *small, *nested])


def json() -> str:
    """The JSON document of every command, field by field."""
    known: list[str] = []
    sections = (f"## {name}\n\n{shape}\n\n{rendered(refs, 3, known)}" for name, (shape, refs) in DOCUMENTS.items())
    return "\n".join([JSON, *sections])
