"""The record of a proof: what is written is what is read, and the verdict is that of the checks."""

from pathlib import Path

import pytest

from fitune.core.deliver import proof
from fitune.core.deliver.proof import Proof, ProofLimits, Similarity, add_answer_checks

LIMITS = ProofLimits(kl=0.01, drift_share=0.05, top1=0.95)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    made = Proof(numbers={"prompts": 4, "device": "cpu"})
    made.add("files", "all", "all", True)
    made.add("its answers", "alike", "not checked", None)
    proof.write(made, tmp_path / proof.PROOF_FILE)
    assert proof.read(tmp_path / proof.PROOF_FILE) == made
    assert made.passed


@pytest.mark.parametrize(
    "content",
    [
        '{"passed": true, "checks": [{"check": "a", "expected": "b", "got": "c", "passed": false}]}',
        '{"passed": false, "checks": []}',
        '{"passed": 1, "checks": []}',
        '{"passed": true, "checks": [{"check": "a", "expected": "b", "got": "c", "passed": "yes"}]}',
        '{"passed": true}',
        "[]",
        "",
    ],
)
def test_a_file_that_is_no_proof_or_contradicts_itself_has_not_passed(tmp_path: Path, content: str) -> None:
    path = tmp_path / proof.PROOF_FILE
    path.write_text(content)
    assert [check.check for check in proof.read(path).failed] == [proof.PROOF_FILE]


@pytest.mark.parametrize(
    ("like", "drift_nats", "ended", "failed"),
    [
        (Similarity(0.009, 1, 0.96, 1), 0.0, [True, True], []),
        (Similarity(0.02, 1, 0.96, 1), 0.0, [True, True], ["its answers"]),
        (Similarity(0.02, 1, 0.96, 1), 1.0, [True, True], []),  # a strong adapter is blurred more
        (Similarity(0.009, 1, 0.94, 1), 0.0, [True, False], ["likeliest token"]),
        (Similarity(0.009, 1, 0.96, 1), 0.0, [False, False], ["ends by itself"]),
    ],
)
def test_the_verdict_on_answers(like: Similarity, drift_nats: float, ended: list[bool], failed: list[str]) -> None:
    made = Proof()
    add_answer_checks(made, like, [True, True], ended, drift_nats, LIMITS)
    assert [check.check for check in made.failed] == failed
    assert made.numbers["kl_mean"] == like.kl_mean


def test_where_no_answer_ends_by_itself_nothing_can_be_said_of_that() -> None:
    made = Proof()
    add_answer_checks(made, Similarity(0, 0, 1, 1), [False], [True], 0.0, LIMITS)
    assert made.checks[-1].passed is None
