"""The proof that an artefact (merged model, GGUF file) is the trained model: a table of checks, a verdict, a file.

The file is proof.json in merged/, and NAME.gguf.proof.json in gguf/: {passed, checks, and bare numbers by name}.
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

PROOF_FILE = "proof.json"


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """One check of a proof."""

    check: str
    expected: str
    got: str
    passed: bool | None
    """None: it could not be checked, and `got` has the reason."""


@dataclass(slots=True)
class Proof:
    """The checks, and the numbers behind them."""

    checks: list[ProofCheck] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[ProofCheck]:
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        return not self.failed

    def add(self, check: str, expected: str, got: str, passed: bool | None) -> None:
        self.checks.append(ProofCheck(check, expected, got, passed))

    def to_json(self) -> dict[str, Any]:
        """The content of its file and of the `finished` event."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks], **self.numbers}


@dataclass(frozen=True, slots=True)
class Similarity:
    """The similarity of two models' answers."""

    kl_mean: float
    """Kullback-Leibler divergence of the next token's distribution, nats a token."""
    logit_max: float
    """The largest difference of two logits, each row centred, since softmax ignores a common shift."""
    top1: float
    """Share of the tokens at which both models have the same likeliest token."""
    written: float
    """Share of the greedily generated tokens that are the same up to the first difference."""


@dataclass(frozen=True, slots=True)
class ProofLimits:
    """Limits for the difference of an artefact's answers to those of the adapter on its base, or the merged model."""

    kl: float
    """Mean nats a token ..."""
    drift_share: float
    """... or this share of the training's own drift, if that is more: rounding affects a strong adapter more."""
    top1: float
    """Smallest share of the tokens at which both must have the same likeliest token."""


def add_answer_checks(
    proof: Proof,
    similarity: Similarity,
    expected_ended: list[bool],
    ended: list[bool],
    drift_nats: float,
    limits: ProofLimits,
) -> None:
    """Add the checks of the answers to a proof.

    expected_ended, ended: True for each answer that ended by itself, of the adapter on its base and of the artefact.
    drift_nats: distance of the first from the base, in nats a token.
    """
    proof.numbers |= {"drift_nats": drift_nats, **asdict(similarity)}
    max_kl = max(limits.kl, limits.drift_share * drift_nats)
    proof.add(
        "its answers",
        f"at most {max_kl:.2g} nats a token away",
        f"{similarity.kl_mean:.2g}",
        similarity.kl_mean <= max_kl,
    )
    proof.add(
        "likeliest token", f"the same for {limits.top1:.0%}", f"{similarity.top1:.1%}", similarity.top1 >= limits.top1
    )
    expected_count, count = sum(expected_ended), sum(ended)
    if expected_count:
        proof.add(
            "ends by itself", f"{expected_count} of {len(ended)} answers", str(count), 2 * count >= expected_count
        )
    else:
        proof.add("ends by itself", "some answers", "none of either", None)


def write(proof: Proof, path: Path) -> None:
    """Write a proof's file, whole or not at all."""
    write_atomically(path, orjson.dumps(proof.to_json(), option=orjson.OPT_INDENT_2))


def read(path: Path) -> Proof:
    """Read a proof's file. One that can't be read, or contradicts itself, becomes a proof with one failed check."""
    try:
        return _parsed(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Proof([ProofCheck(PROOF_FILE, "readable", f"{type(error).__name__}: {error}", False)])


def _parsed(content: Any) -> Proof:
    rows = [
        ProofCheck(str(row["check"]), str(row["expected"]), str(row["got"]), row["passed"]) for row in content["checks"]
    ]
    proof = Proof(rows, {key: number for key, number in content.items() if key not in ("passed", "checks")})
    if not all(isinstance(row.passed, bool | None) for row in rows) or content["passed"] is not proof.passed:
        raise ValueError("its verdict is not that of its checks")
    return proof


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside the artefact's final folder, to make it in. It is removed at the end in any case.

    Raises UserError where something can't be read or written, as on a full disk.
    """
    staging = target.with_name(target.name + ".part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
    except OSError as error:
        if error.errno is None:  # a library's OSError for something else
            raise
        raise UserError(
            f"{error.filename or target}: {error.strerror}.",
            f"Fix that and start it again. {target} was not changed.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def accept(proof: Proof, staging: Path, target: Path, hint: str) -> None:
    """Write the proof into an artefact's folder. Raises UserError if it failed, and renames the folder.

    target: the final folder; a failed one is kept beside it as NAME.failed.
    """
    write(proof, staging / PROOF_FILE)
    if proof.passed:
        return
    rejected = target.with_name(target.name + ".failed")
    shutil.rmtree(rejected, ignore_errors=True)
    staging.rename(rejected)
    failed = proof.failed[0]
    raise UserError(
        f"What was written failed its proof. {failed.check}: expected {failed.expected}; got {failed.got}.",
        f"{hint} The failed one is in {rejected}, with its {PROOF_FILE}; delete it when you don't need it any more.",
    )
