"""What is done when a run or the queue has come to its end, however it came: a command, a message to a web address."""

from fitune.core.at_end.ends import End, end_of
from fitune.core.at_end.notice import Notice, OnEnd, checked, keep, kept, tell
from fitune.core.at_end.watching import watch

__all__ = ["End", "Notice", "OnEnd", "checked", "end_of", "keep", "kept", "tell", "watch"]
