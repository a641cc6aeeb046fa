"""The way from the review into the queue, instead of a start at once."""

from fitune.core import queue
from fitune.core.queue import Addition
from fitune.core.recipe import Recipe


def enqueue(asked: Recipe) -> str:
    """Put a recipe into the queue; the name of its run and what comes next, as a sentence. Raises UserError."""
    (entry,) = queue.add([asked], Addition(source="the wizard"))
    starts = "It begins once a card is free." if queue.runner_pid() else "Start the queue at home: q, then s."
    return f"{entry.name} waits in the queue. {starts}"
