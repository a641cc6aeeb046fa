"""An example file to start from: two rows of a task, to be replaced by one's own."""

from pathlib import Path

from fitune.core.data.templates import templates
from fitune.core.errors import UserError

OFFER = "Write an example file to start from ..."
ASKED = "What shall the model learn? Enter writes two example rows into a new file here."
TASKS = ("question-answer", "chat", "classification", "extraction", "style", "tools", "preference")
"""What the wizard offers."""


def task_lines() -> list[str]:
    """The tasks to choose from: `chat: each row is a whole conversation.`"""
    abouts = (" ".join(templates()[task].about.split()).partition(".")[0] for task in TASKS)
    return [f"{task}: {about[:1].lower()}{about[1:]}." for task, about in zip(TASKS, abouts, strict=True)]


def write_example(task: str) -> str:
    """Write the example rows of a task into a new file here, and give its name. Raises UserError."""
    for number in range(1, 100):
        name = f"example-{task}{f'-{number}' if number > 1 else ''}.jsonl"
        try:
            with Path(name).open("x", encoding="utf-8") as file:
                file.write(templates()[task].rows.lstrip("\n"))
        except FileExistsError:
            continue
        except OSError as error:
            hint = "Start fitune in a folder of yours."
            raise UserError(f"{name} can't be written here: {error.strerror}.", hint) from None
        return name
    raise UserError(f"There are a hundred files example-{task} here.", "Remove some, or type the path of one.")
