"""Who speaks when in a chat."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise


@lru_cache(maxsize=4096)
def turn_trouble(roles: tuple[str, ...]) -> str | None:
    """What is odd about the order of speakers, as a kind of finding; None if nothing is."""
    spoken = [role for role in roles if role != "system"]
    if "system" in roles[1:]:
        return "system_late"
    if not spoken or spoken[-1] != "assistant":
        return "no_last_answer"
    return "unbalanced" if spoken[0] == "assistant" or _repeats(spoken) else None


def _repeats(spoken: Sequence[str]) -> bool:
    """Whether the user, or the assistant, speaks twice in a row; tools may."""
    return any(one == other != "tool" for one, other in pairwise(spoken))
