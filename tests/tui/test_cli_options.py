"""What comes before a command: options of fitune itself, which count or are refused, and a home for its runs."""

import pytest

from fitune.tui.cli import parser
from tests.tui.conftest import Fitune


@pytest.mark.parametrize(
    ("command", "flag"),
    [("watch", "plain"), ("chat", "plain"), ("train recipe.toml", "yes"), ("push a --repo b", "yes")],
)
def test_a_flag_counts_before_a_command_as_behind_it(command: str, flag: str) -> None:
    given = [f"--{flag} {command}", f"{command} --{flag}", command]
    assert [getattr(parser().parse_args(each.split()), flag) for each in given] == [True, True, False]


@pytest.mark.parametrize(
    ("asked", "json"), [("--json compare a b", True), ("compare a b --json", True), ("compare a b", False)]
)
def test_json_counts_on_both_sides_of_compare(asked: str, json: bool) -> None:
    assert parser().parse_args(["runs", *asked.split()]).json is json


def test_answers_for_a_command_that_asks_nothing_are_refused(fitune: Fitune) -> None:
    said = "--answers is for the wizard, and not for runs. Leave one of the two out.\n"
    assert fitune("--answers", "recipe.toml", "runs") == (2, "", said)


def test_a_home_folder_that_there_is_not_is_told_before_a_screen_is_up(
    fitune: Fitune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITUNE_HOME", "~nobody-here/fitune")
    said = "There is no home folder ~nobody-here/fitune here. Set FITUNE_HOME to a folder you can write to.\n"
    assert fitune() == (2, "", said)
