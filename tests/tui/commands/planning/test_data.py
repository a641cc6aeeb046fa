"""`fitune data`: the report, and with a model what that model would see; exit status 2 where training can't work."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from fitune.core import jobs
from fitune.core.data.checks.sentences import Finding
from fitune.core.errors import ExitCode, Problem, UserError
from fitune.core.runs import EventLog, Failed, Finished, Started
from fitune.core.runs.run import Run
from fitune.core.tokens.lengths import STATS_FILE, Example, Token, to_json
from fitune.tui.data.report_text import finding_line
from tests.core.tokens.token_rows import prepared
from tests.tui.conftest import Fitune


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"{n}!"}) + "\n" for n in range(40)))
    return str(path)


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the prepare job answer at once: 40 rows of 60 tokens, trained from token 50 on; or fail."""

    def ready(failure: str = "") -> list[Any]:
        asked: list[Any] = []
        tokens = (Token("<s>", False, True), Token("\x1b[2J0?", False, False), Token("0!", True, False))
        found = prepared([(60, [(50, 60)])] * 40, examples=(Example(0, 3, tokens),))
        run = Run(tmp_path / "prepared")
        run.path.mkdir()
        log = EventLog(run.events, "prepare")
        log.write(Started())
        if failure:
            log.write(Failed(kind="download", message=failure, hint="Try later."))
        else:
            log.write(Finished(stopped=False))
            (run.path / STATS_FILE).write_bytes(orjson.dumps(to_json(found)))

        def prepare(recipe: Any) -> Run:
            asked.append(recipe)
            return run

        monkeypatch.setattr(jobs, "prepare", prepare)
        return asked

    return ready


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (Finding("stop", "too_few", 0, Problem("a.jsonl", "holds no rows.", "Is it the right file?")),
         "ERROR a.jsonl: holds no rows. Is it the right file?"),
        (Finding("warn", "bad_line", 2, Problem("a.jsonl:3", "2 rows can't be read.", "Fix them."),
                 ("a.jsonl:3 is a list, not an object.", "a.jsonl:9 is text, not an object.")),
         "WARN 2 rows can't be read. Fix them. (a.jsonl:3 is a list, not an object.)"),
        (Finding("warn", "unsure", 1, Problem("data.columns", "A guess.", "Set data.columns.")),
         "WARN A guess. Set data.columns."),
    ],
)  # fmt: skip
def test_a_problem_is_a_sentence_with_its_place(finding: Finding, line: str) -> None:
    assert finding_line(finding) == line


def test_of_many_places_the_first_are_shown(fitune: Fitune, tmp_path: Path) -> None:
    rows = '{"question": "a", "answer": "b"}\n' * 9 + "[1]\n" * 7
    (tmp_path / "a.jsonl").write_text(rows)
    lines = fitune("data", str(tmp_path / "a.jsonl"))[1].splitlines()
    places = [line for line in lines if line.endswith("is a list, not an object.")]
    assert [place.split()[0] for place in places] == [f"a.jsonl:{n}" for n in range(10, 15)]
    assert "      and 2 more" in lines


def test_what_a_folder_holds_besides_is_named(fitune: Fitune, source: str) -> None:
    for name in ("LICENSE", "README.md", "b.test.jsonl", "\x1b[2J.bin"):
        Path(source).with_name(name).write_text("x")
    status, said = fitune("data", str(Path(source).parent))[:2]
    assert status == 0
    assert "Read: a.jsonl. Left out: " in said
    assert "README.md" in said
    assert "\x1b" not in said


def test_without_a_model_nothing_is_rendered(fitune: Fitune, source: str, rendered: Any) -> None:
    asked = rendered()
    status, out, _ = fitune("data", source)
    assert (status, asked) == (0, [])
    assert "40 usable rows of 40" in out


def test_with_a_model_its_view_is_shown(fitune: Fitune, source: str, rendered: Any) -> None:
    asked = rendered()
    status, out, _ = fitune("data", source, "--model", "owner/model")
    assert status == 0
    assert (asked[0].model.id, asked[0].data.source) == ("owner/model", source)
    assert "40 rows of 2,400 tokens, the longest 60" in out
    assert "cut at 2,048 tokens" in out
    assert "«0!»" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("length", "status", "emptied"), [(2048, 0, 0), (55, 0, 0), (32, 2, 40)])
def test_a_recipe_says_where_rows_are_cut(
    fitune: Fitune, source: str, rendered: Any, tmp_path: Path, length: int, status: int, emptied: int
) -> None:
    rendered()
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[model]\nid = "owner/model"\nmax_seq_length = {length}\n[data]\nsource = "owner/x"\n')
    found, out, _ = fitune("data", source, "--recipe", str(recipe), "--json")
    document = json.loads(out)
    assert (found, document["can_train"]) == (status, status == 0)
    told = document["prepared"]
    assert (told["max_seq_length"], told["lost"]["emptied"]) == (length, emptied)
    assert sum(each["rows"] for each in told["histogram"]) == 40
    assert [each["severity"] for each in told["problems"]] == {2048: [], 55: ["warn"], 32: ["stop"]}[length]


def test_rows_whose_answers_all_vanish_are_the_first_thing_told(
    fitune: Fitune, source: str, rendered: Any, tmp_path: Path
) -> None:
    rendered()
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\nid = "owner/model"\nmax_seq_length = 32\n[data]\nsource = "owner/x"\n')
    status, out, _ = fitune("data", source, "--recipe", str(recipe))
    assert status == 2
    assert out.startswith("ERROR Nothing is left to learn. 40 rows lose their whole answer at 32 tokens")
    assert "model.max_seq_length = 128 keeps" in out


def test_a_rendering_that_failed_says_why(fitune: Fitune, source: str, rendered: Any) -> None:
    rendered("The Hub can't be reached.")
    status, _, err = fitune("data", source, "--model", "owner/model")
    assert (status, err) == (1, "The Hub can't be reached. Try later.\n")


def test_rows_that_can_not_be_read_are_not_rendered(fitune: Fitune, tmp_path: Path, rendered: Any) -> None:
    asked = rendered()
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n')
    assert fitune("data", str(tmp_path / "b.jsonl"), "--model", "owner/model")[0] == 2
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "fitune data: data.source: is missing."),
        (["x", "--model", ""], "fitune data: model.id: should have at least 1 character"),
        (["x\udcff"], "fitune data: holds text that is not UTF-8."),
    ],
)
def test_a_name_that_is_none_is_a_sentence(fitune: Fitune, arguments: list[str], said: str) -> None:
    status, out, err = fitune("data", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(said)


def test_another_model_is_read_as_the_recipe_says(fitune: Fitune, source: str, rendered: Any, tmp_path: Path) -> None:
    asked = rendered()
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\nid = "owner/model"\nrevision = "v1"\nmax_seq_length = 64\n[data]\nsource = "owner/x"\n')
    fitune("data", source, "--recipe", str(recipe), "--model", "owner/other")
    model = asked[0].model
    assert (model.id, model.revision, model.max_seq_length) == ("owner/other", None, 64)


def test_example_rows_go_to_stdout_and_what_to_know_of_them_to_stderr(fitune: Fitune) -> None:
    status, out, err = fitune("data", "--template", "extraction")
    assert status == 0
    assert [json.loads(line)["output"]["day"] for line in out.splitlines()] == ["Friday", "Monday"]
    assert "keys in every row, in the same order" in err


def test_without_a_source_there_is_nothing_to_read(fitune: Fitune) -> None:
    assert fitune("data")[::2] == (
        2,
        "There is nothing to read. Name a file, a folder or a data set on the Hub, --recipe RECIPE for its rows, "
        "or --template TASK.\n",
    )  # fmt: skip


@pytest.mark.parametrize("more", [["rows.jsonl"], ["--json"]])
def test_example_rows_stand_alone(fitune: Fitune, more: list[str]) -> None:
    ended, out, err = fitune("data", "--template", "chat", *more)
    assert (ended, out) == (2, "")
    assert "nothing else" in err


def test_a_preset_is_a_recipe_for_the_named_rows(fitune: Fitune, source: str, rendered: Any) -> None:
    asked = rendered()
    assert fitune("data", source, "--recipe", "8b-on-12gb")[0] == 0
    assert asked[0].data.source == source


def test_rows_of_an_unclear_meaning_are_shown_as_an_accepted_guess_takes_them(fitune: Fitune, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Why {n}", "completion": f"So {n}"}) + "\n" for n in range(40)))
    report = json.loads(fitune("data", str(path), "--json")[1])
    assert not report["sure"]
    assert report["mapping"] == report["candidates"][0] == {"question": "prompt", "answer": "completion"}
    assert report["preview"][0]["messages"][-1] == {"role": "assistant", "content": "So 0"}


def test_the_tools_that_a_row_calls_are_shown(fitune: Fitune, tmp_path: Path) -> None:
    path = tmp_path / "tools.jsonl"
    path.write_text(fitune("data", "--template", "tools")[1])
    assert 'assistant: [calls opening_hours({"day": "Sunday"})]' in fitune("data", str(path))[1]


def test_files_of_another_split_are_told_with_its_name(fitune: Fitune, tmp_path: Path) -> None:
    for name in ("rows", "rows_test"):
        (tmp_path / f"{name}.jsonl").write_text('{"question": "Why?", "answer": "So."}\n')
    out = fitune("data", str(tmp_path))[1]
    assert "Left out: rows_test.jsonl. By their names some are the split test: data.split chooses." in out


@pytest.mark.parametrize("call", ["f", 7, [], {}, {"function": 3}, {"name": None}])
def test_a_call_of_nothing_is_a_row_left_out_and_told(fitune: Fitune, tmp_path: Path, call: Any) -> None:
    rows = [
        [{"role": "user", "content": f"Ask {n}"}, {"role": "assistant", "content": f"So {n}", "tool_calls": calls}]
        for n, calls in enumerate([[{"name": "now"}], [{"function": {"name": "now"}}], [call]])
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in rows))
    out = fitune("data", str(path))[1]
    assert "2 usable rows of 3" in out
    assert "a tool call is" in out


@pytest.mark.parametrize("name", ["\N{GRINNING FACE}.jsonl", "3", '"quoted".jsonl', " spaced.jsonl"])
def test_a_recipe_takes_rows_of_any_name(
    fitune: Fitune, source: str, rendered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = rendered()
    Path(name).write_text(Path(source).read_text())
    assert fitune("data", name, "--recipe", "8b-on-12gb")[0] == 0
    assert asked[0].data.source == name


@pytest.mark.parametrize("calls", ["x", [7], [{"function": 3}], {"name": "f"}])
def test_unusable_chats_with_odd_calls_are_shown_all_the_same(fitune: Fitune, tmp_path: Path, calls: Any) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Why so?", "tool_calls": calls}]}))
    status, out, _ = fitune("data", str(path))
    assert status == 2
    assert "user: Why so?" in out


def test_without_a_tokenizer_the_report_is_told_all_the_same(
    fitune: Fitune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UserError("The Hub is out of reach.", "", ExitCode.FAILED)

    monkeypatch.setattr("fitune.tui.commands.planning.data.render", away)
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "Why?", "answer": "So."}\n' * 3)
    status, out, err = fitune("data", str(path), "--model", "a/b")
    assert (status, err) == (1, "The Hub is out of reach.\n")
    assert "3 usable rows of 3, jsonl" in out
