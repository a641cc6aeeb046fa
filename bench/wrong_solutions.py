"""Wrong solutions of GSM8K's problems, as fluent as the right ones: each is a right one in which one step goes wrong.

The data marks its calculations: `14 * 6 = $<<14*6=84>>84`. So a step can be made wrong, and all behind it calculated
anew from what it gave.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CALCULATION = re.compile(r"<<([\d.]+)([-+*/])([\d.]+)=([\d.]+)>>")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SIGNS = {"+": "+", "-": "-–−", "*": "*x×", "/": "/÷"}
"""How a solution may write each operator."""
Step = tuple[str, str, str, str]
"""The text before a result, the operator, the right number, and the result."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A problem with a right and a wrong solution."""

    mistake: str
    prompt: str
    chosen: str
    rejected: str


def pairs(solved: Sequence[tuple[str, str]], count: int, seed: int) -> list[Pair]:
    """At most so many pairs of problems with their marked solutions, with the mistakes about equally often; problems
    that take none are left out."""
    dice, made, used = random.Random(seed), list[Pair](), dict.fromkeys(MISTAKES, 0)
    for question, solution in solved:
        marked = re.sub(r"(?<=\d),(?=\d)", "", solution.strip())
        for mistake in sorted(MISTAKES, key=used.__getitem__) if len(made) < count else ():
            if wrong := MISTAKES[mistake](marked, dice):
                made.append(Pair(mistake, question.strip(), unmarked(marked), unmarked(wrong)))
                used[mistake] += 1
                break
    return made


def unmarked(solution: str) -> str:
    """A solution without the marks of its calculations."""
    return re.sub(r"<<.*?>>", "", solution).strip()


def another_operator(marked: str, dice: random.Random) -> str | None:
    """The solution with another operator in one step; None if it takes none."""

    def change(before: str, left: str, operator: str, right: str) -> Step | None:
        place = max(before.rfind(sign) for sign in SIGNS[operator])
        if place <= before.rfind("\n"):
            return None
        other = dice.choice([each for each in SIGNS if each != operator])
        result = calculated(left, other, right)
        return (before[:place] + other + before[place + 1 :], other, right, result) if result else None

    return with_wrong_step(marked, dice, change)


def another_result(marked: str, dice: random.Random) -> str | None:
    """The solution with a result that is off by 1, 2 or 10 in one step; None if it takes none."""

    def change(before: str, left: str, operator: str, right: str) -> Step | None:
        result = calculated(left, operator, right)
        wrong = int(result) + dice.choice([-10, -2, -1, 1, 2, 10]) if result and result.isdigit() else 0
        return (before, operator, right, str(wrong)) if wrong > 0 else None

    return with_wrong_step(marked, dice, change)


def one_step_short(marked: str, _: random.Random) -> str | None:
    """The solution that ends before its last step and gives what it has by then; None if it takes none."""
    *steps, answer = marked.split("\n")
    last = CALCULATION.findall(steps[-2]) if len(steps) > 1 and CALCULATION.search(steps[-1]) else []
    if not last or f"#### {last[-1][3]}" == answer:
        return None
    return "\n".join([*steps[:-1], f"#### {last[-1][3]}"])


MISTAKES: dict[str, Callable[[str, random.Random], str | None]] = {
    "another operator": another_operator,
    "another result": another_result,
    "one step short": one_step_short,
}


def with_wrong_step(
    marked: str, dice: random.Random, change: Callable[[str, str, str, str], Step | None]
) -> str | None:
    """The solution with a step that `change` makes wrong, and with what follows from it; None if it takes none."""
    found = list(CALCULATION.finditer(marked))
    if not found or len(found) != marked.count("<<"):
        return None
    wrong_one, became, made, end = dice.choice(found), dict[str, str](), "", 0
    for mark in found:
        left, operator, right, old = mark.groups()
        before = followed(marked[end : mark.start()], became)
        left, right = became.get(left, left), became.get(right, right)
        result = calculated(left, operator, right)
        if mark is wrong_one:
            if (step := change(before, left, operator, right)) is None:
                return None
            before, operator, right, result = step
        if result is None:
            return None
        if result != old:
            became[old] = result
        made, end = f"{made}{before}<<{left}{operator}{right}={result}>>", mark.end()
    made += followed(marked[end:], became)
    return made if made.rpartition("####")[2] != marked.rpartition("####")[2] else None


def followed(text: str, became: dict[str, str]) -> str:
    """A text with each number replaced that has become another."""
    return NUMBER.sub(lambda number: became.get(number[0], number[0]), text)


def calculated(left: str, operator: str, right: str) -> str | None:
    """The result, as a solution writes it; None where it is not above 0, or has more than two decimals."""
    try:
        a, b = float(left), float(right)
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else 0.0}[operator]
    except ValueError:  # "1.2.3", or a dot alone
        return None
    return f"{result:.2f}".rstrip("0").rstrip(".") if result > 0 and abs(result * 100 % 1) < 1e-9 else None
