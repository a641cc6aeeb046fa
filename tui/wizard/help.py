"""The help behind `?`: a field or a step in plain words with the typical mistake, the keys, and the glossary."""

from fitune.tui.text.help_pages import glossary_page, two_columns
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, origin, shown
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import all_fields, text_of
from fitune.tui.wizard.forecast_text import forecast_draft

MISTAKES = {
    "model.id": "Taking a base model instead of an instruct model: it has no chat format, and needs far more rows.",
    "model.quant": "Choosing bf16 for quality on a small card: nf4 is hardly worse, and leaves room for longer rows.",
    "model.max_seq_length": "Leaving it far above the longest row: memory is set aside for rows that never come.",
    "lora.r": "Raising it to make the model cleverer: more and better rows do that. 16 is enough for most tasks.",
    "lora.alpha": "Changing it together with the learning rate: both make the same thing stronger.",
    "lora.lr_ratio": "Trying variants of LoRA before the rate is tuned: press r at the review, which races four rates.",
    "lora.modules_to_save": "Training the embedding for a style or a task: the adapter does that alone.",
    "train.epochs": "Too many: watch the held-out loss, and stop when it rises.",
    "train.lr": "A learning rate from full training (1e-5): LoRA needs ten times that.",
    "train.objective": "Comparing answers before it can answer at all: first train on good answers, then on pairs.",
    "train.beta": "Lowering it to learn faster: the model then forgets how to write. Raise the learning rate instead.",
    "train.micro_batch": "Raising it until memory is full: it is hardly faster, and one long row ends the run.",
    "train.grad_accum": "Forgetting that it counts: 2 rows x 4 is the same batch as 8 rows x 1.",
    "train.optimizer": "Paging (paged_...) where memory is enough: it only makes each step slower.",
    "train.checkpointing": "Turning it off for speed: memory grows manyfold, and few cards have it.",
    "data.source": "A file of questions only, or with answers cut off. Look at the rows that are shown.",
    "data.replay": "Half of all rows: then the model hardly learns yours. 0.05 to 0.2 is usual.",
    "data.loss_on": "Training on the questions too: the model then learns to ask them.",
    "data.eval_fraction": "Holding out nothing: then nobody can tell learning from memorising.",
    "run.gpus": "Several cards for short rows: they wait for each other, and may be slower than one (fitune fit).",
    "deliver.push_repo": "A repository that is public by mistake: your rows can show through a trained model.",
    "model.trust_remote_code": "Saying yes to make an error go away: it runs a stranger's program on your machine.",
}
KEYS = (
    ("^", "the Ctrl key: ^c is Ctrl and C together"),
    ("Enter", "go on"),
    ("Esc", "go back; nothing that was typed is lost"),
    ("Up, Down, Tab", "next or last field"),
    ("Page Up, Page Down", "a page of fields; ^home and ^end: the first and the last"),
    ("/", "show only the settings or presets with some words; Esc shows all again"),
    ("Space, m", "list all models: at the setting Base model; at the presets"),
    ("Left, Right, Space", "another value; at the data another row in tokens"),
    ("^r", "reset the field in hand"),
    ("^t", "all fields, or only those that matter first and those that are set"),
    ("^o, f6, f7", "apply a remedy where memory is short"),
    ("^l", "cut rows later, where much of them is lost"),
    ("^f", "the fastest settings that fit, at the settings"),
    ("w", "write all answers to a recipe file, at the review"),
    ("e", "edit the recipe in your editor (EDITOR), at the review"),
    ("r", "race four learning rates on your rows, at the review"),
    ("q", "put it into the queue instead of starting it, at the review"),
    ("u", "undo the plan that was proposed, at the review"),
    ("^g", "plan for another card, at the presets"),
    ("?, f1", "this help"),
    ("^p", "all commands"),
    ("^c", "leave"),
)


def help_text(topic: str, draft: Draft) -> list[tuple[str, str]]:
    """(heading, text) of a topic, of the keys and of the glossary: a page."""
    return [*about(topic, draft), ("Keys", two_columns(KEYS, 20)), glossary_page()]


def about(topic: str, draft: Draft) -> list[tuple[str, str]]:
    """(heading, text) of a topic: a field's name, or a step's."""
    return field_help(topic, draft) if topic in all_fields() else step_help(topic)


def field_help(name: str, draft: Draft) -> list[tuple[str, str]]:
    """Help on a field: its meaning, value and origin, what is allowed, what it costs, what goes wrong."""
    field = all_fields()[name]
    default = text_of(field.default) or "none"
    value = f"{shown(draft, name) or 'nothing'} ({origin(draft, name)}); fitune's default: {default}"
    told = [
        (f"{field.label} ({name})", field.help),
        ("Value", value),
        ("Allowed", field.range),
        ("Memory", field_cost(draft, field, forecast_draft(draft))),
        ("Typical mistake", MISTAKES.get(name, "")),
    ]
    return [(heading, text) for heading, text in told if text]


def step_help(name: str) -> list[tuple[str, str]]:
    """Help on a step: its purpose, and what goes wrong most often."""
    step = steps.named(name)
    return [(step.title, step.help), ("Typical mistake", step.mistake)]
