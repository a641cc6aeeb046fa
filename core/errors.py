"""Errors that a user can cause and fix, and the exit status of a command. Anything else that is raised is a bug.

UserError              a message and a hint
├── BadInput           a recipe or a model's config.json, refused with all its problems
├── TokenNeeded        no Hub token, or one that the Hub does not know
├── CardTaken          another run trains on the card
├── ConverterMissing   llama.cpp's converter is not on this machine
└── LeftError          the user left the screen before the work was done
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of a command."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    DOES_NOT_FIT = 3
    STOPPED = 130
    """By Ctrl+C: 128 and the number of SIGINT, as in a shell."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in the input: its location, a description and a fix."""

    where: str
    """File, line and key as far as they are known: `recipe.toml:12: lora.r`."""
    text: str
    """A sentence on what is wrong."""
    fix: str = ""
    """A sentence on how to fix it; may be empty."""

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.text}" if self.where else self.text
        return f"{sentence} {self.fix}".rstrip()


class UserError(Exception):
    """An error that a user can fix: `message` says what is wrong, `hint` what to do, `exit_code` what a shell gets."""

    def __init__(self, message: str, hint: str = "", exit_code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class BadInput(UserError):
    """Refused input, with all its problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def problems_of(error: UserError) -> tuple[Problem, ...]:
    """The problems of an error, each as one."""
    return error.problems if isinstance(error, BadInput) else (Problem("", error.message, error.hint),)


class TokenNeeded(UserError):
    """The Hub needs a token: there is none, or the Hub does not know it."""


class CardTaken(UserError):
    """Another run trains on the card."""


class ConverterMissing(UserError):
    """llama.cpp's convert_hf_to_gguf.py is not on this machine. The hint is the command that fetches it."""


class LeftError(UserError):
    """The user left the screen before the work was done."""
