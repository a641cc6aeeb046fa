"""Is an artefact the model that was trained? A table of checks, the verdict, and the file beside what it is about.

That is proof.json in merged/, and NAME.gguf.proof.json in gguf/: {passed, checks, and bare numbers by name}.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from fitune.core.errors import UserError
from fitune.core.files import write_atomically

FILE = "proof.json"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    check: str
    expected: str
    got: str
    passed: bool | None
    """None: it could not be checked, and `got` says why."""


@dataclass(slots=True)
class Proof:
    """The table, and the bare numbers behind it."""

    checks: list[Check] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        return not self.failed

    def add(self, check: str, expected: str, got: str, passed: bool | None) -> None:
        self.checks.append(Check(check, expected, got, passed))

    def to_json(self) -> dict[str, Any]:
        """As in its file and the `finished` event."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks], **self.numbers}


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much alike two forms of a model answer."""

    kl_mean: float
    """Kullback-Leibler divergence of the next token's distribution, nats a token."""
    logit_max: float
    """The largest difference of two logits, each row centred: softmax does not see a shift of all."""
    top1: float
    """Share of the tokens at which both find the same token likeliest."""
    written: float
    """Share of the greedily written tokens that are the same up to the first difference."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an artefact's answers may be from those of the adapter on its base, or of the merged model."""

    kl: float
    """Nats a token, in the mean ..."""
    drift_share: float
    """... or this share of what the training changed, if that is more: rounding blurs a strong adapter more."""
    top1: float
    """Least share of the tokens at which both must find the same token likeliest."""


def judge(
    proof: Proof, like: Likeness, expected_ended: list[bool], ended: list[bool], drift_nats: float, limits: Limits
) -> None:
    """Add what the answers say.

    expected_ended, ended: which answers came to an end by themselves, of the adapter on its base and of the artefact.
    drift_nats: how far the first is from the base, in nats a token.
    """
    proof.numbers |= {"drift_nats": drift_nats, **asdict(like)}
    most = max(limits.kl, limits.drift_share * drift_nats)
    proof.add("its answers", f"at most {most:.2g} nats a token away", f"{like.kl_mean:.2g}", like.kl_mean <= most)
    proof.add("likeliest token", f"the same for {limits.top1:.0%}", f"{like.top1:.1%}", like.top1 >= limits.top1)
    wanted, found = sum(expected_ended), sum(ended)
    if wanted:
        proof.add("ends by itself", f"{wanted} of {len(ended)} answers", str(found), 2 * found >= wanted)
    else:
        proof.add("ends by itself", "some answers", "none of either", None)


def write(proof: Proof, path: Path) -> None:
    """Write a proof's file, whole or not at all."""
    write_atomically(path, orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))


def read(path: Path) -> Proof:
    """A proof's file; one that can't be read, or contradicts itself, is a proof with one check, which failed."""
    try:
        return _parsed(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Proof([Check(FILE, "readable", f"{type(error).__name__}: {error}", False)])


def _parsed(told: Any) -> Proof:
    rows = [Check(str(row["check"]), str(row["expected"]), str(row["got"]), row["passed"]) for row in told["checks"]]
    found = Proof(rows, {key: number for key, number in told.items() if key not in ("passed", "checks")})
    if not all(isinstance(row.passed, bool | None) for row in rows) or told["passed"] is not found.passed:
        raise ValueError("its verdict is not that of its checks")
    return found


@contextmanager
def made_aside(place: Path) -> Iterator[Path]:
    """An empty folder beside an artefact's place, to make it in. What is still there at the end goes, however it ends.

    Raises UserError where something can't be read or written, as on a full disk.
    """
    aside = place.with_name(place.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
    except OSError as error:
        if error.errno is None:  # a library's word for something else
            raise
        raise UserError(
            f"{error.filename or place}: {error.strerror}.",
            f"Mend that and start it again. Whatever was in {place} is as it was.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def settle(proof: Proof, aside: Path, place: Path, hint: str) -> None:
    """Write the proof into an artefact's folder. Raises UserError if it failed, with the folder out of the way.

    place: where the folder was to lie; a failed one lies beside it as NAME.failed.
    """
    write(proof, aside / FILE)
    if proof.passed:
        return
    kept = place.with_name(place.name + ".failed")
    shutil.rmtree(kept, ignore_errors=True)
    aside.rename(kept)
    worst = proof.failed[0]
    raise UserError(
        f"What was written failed its proof. {worst.check}: expected {worst.expected}; got {worst.got}.",
        f"{hint} The failed one is in {kept}, with its {FILE}; delete it when you have seen it.",
    )
