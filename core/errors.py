"""What a user can cause and repair, said in sentences. Anything else that is raised is a bug and may trace back."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and what to do about it."""

    where: str
    """File, line and key as far as they are known: `recipe.toml:12: lora.r`."""
    text: str
    fix: str = ""

    def __str__(self) -> str:
        said = f"{self.where}: {self.text}" if self.where else self.text
        return f"{said} {self.fix}".rstrip()


class UserError(Exception):
    """Something a user can repair: `message` says what is wrong, `hint` what to do, `exit_code` what a shell gets."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class BadInput(UserError):
    """Input refused at the door, with all its problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
