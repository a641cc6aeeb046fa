"""Is an artefact the model that was trained? A table of checks, each with what was expected and what was found."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from core.errors import UserError
from core.runs import write_atomically
from core.worker.behaviour import Answers, likeness


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an artefact's answers may be from those of the adapter on its base, or of the merged model."""

    kl: float
    """Nats a token, in the mean ..."""
    drift_share: float
    """... or this share of what the training changed, if that is more: rounding blurs a strong adapter more."""
    top1: float
    """Least share of the tokens at which both must find the same token likeliest."""


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

    def add(self, check: str, expected: str, got: str, passed: bool | None) -> None:
        self.checks.append(Check(check, expected, got, passed))

    def to_json(self) -> dict[str, Any]:
        """As in proof.json and the `finished` event: {passed, checks, and the numbers by name}."""
        return {"passed": not self.failed, "checks": [asdict(check) for check in self.checks], **self.numbers}


def judge(proof: Proof, expected: Answers, got: Answers, drift: float, limits: Limits) -> None:
    """Add what the answers say. expected: of the adapter on its base; drift: how far that is from the base, nats."""
    like = likeness(expected, got)
    proof.numbers |= {"drift_nats": drift, **asdict(like)}
    most = max(limits.kl, limits.drift_share * drift)
    proof.add("its answers", f"at most {most:.2g} nats a token away", f"{like.kl_mean:.2g}", like.kl_mean <= most)
    proof.add("likeliest token", f"the same for {limits.top1:.0%}", f"{like.top1:.1%}", like.top1 >= limits.top1)
    ends, ended, asked = sum(expected.stopped), sum(got.stopped), len(got.stopped)
    if ends:
        proof.add("ends by itself", f"{ends} of {asked} answers", str(ended), 2 * ended >= ends)
    else:
        proof.add("ends by itself", "some answers", "none of either", None)


def settle(proof: Proof, aside: Path, place: Path, hint: str) -> None:
    """Write proof.json into an artefact's folder. Raises UserError if it failed, with the folder out of the way.

    place: where the folder was to lie; a failed one lies beside it as NAME.failed.
    """
    write_atomically(aside / "proof.json", orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))
    if not proof.failed:
        return
    kept = place.with_name(place.name + ".failed")
    shutil.rmtree(kept, ignore_errors=True)
    aside.rename(kept)
    worst = proof.failed[0]
    raise UserError(
        f"What was written failed its proof. {worst.check}: expected {worst.expected}; got {worst.got}.",
        f"{hint} The failed one is in {kept}, with its proof.json; delete it when you have seen it.",
    )
