"""The queue: recipes that are trained one after the other on the cards there are, by a process of its own."""

from fitune.core.queue.adding import Addition, add
from fitune.core.queue.changing import move, remove, remove_ended
from fitune.core.queue.entries import Entry, Queue, State, edit, find, folder, read
from fitune.core.queue.process import runner_pid, start, stop, wants_to_go_on
from fitune.core.queue.sweep import Variant, variants

__all__ = [
    "Addition",
    "Entry",
    "Queue",
    "State",
    "Variant",
    "add",
    "edit",
    "find",
    "folder",
    "move",
    "read",
    "remove",
    "remove_ended",
    "runner_pid",
    "start",
    "stop",
    "variants",
    "wants_to_go_on",
]
