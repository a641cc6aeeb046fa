"""What is told at the end: by a command, by a message to a web address; and no secret is kept or printed."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs, runs
from fitune.core.at_end import Notice, OnEnd, checked, keep, kept, notice, tell, watcher
from fitune.core.errors import UserError
from fitune.core.runs import Run
from tests.core.jobs.test_training import Start
from tests.fake_worker import wait_until

SECRET = "x1y2z3" * 5
NOTICE = Notice("run-a", "failed", "The card\x1b[31m is\nfull.", Path("/runs/run-a"))


class Hook:
    """A web address on this machine: what it was sent, and what it answers."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers = [200]
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0])
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    made = Hook()
    threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(notice, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("HOOK", made.address)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_command_gets_a_mail_and_the_facts_as_variables(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tell(OnEnd(command=f'cat > {out}; echo "$FITUNE_RUN $FITUNE_STATUS $FITUNE_MESSAGE" >> {out}'), NOTICE)
    head, body = out.read_text().split("\n\n", 1)
    assert head == "Subject: fitune: run-a failed\nContent-Type: text/plain; charset=utf-8"
    assert body.startswith("The card [31m is full.\n\n/runs/run-a on ")
    assert body.endswith("\nrun-a failed The card [31m is full.\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [("exit 3", "ended with status 3"), ("nosuch-thing", "status 127"), ("sleep 9", "more than 0 s")],
)
def test_a_command_that_fails_is_told_in_the_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.setattr(notice, "COMMAND_WITHIN_S", 0.2)
    tell(OnEnd(command=command), NOTICE)
    assert said in capfd.readouterr().out


def test_a_message_is_sent_to_the_address_in_a_variable_or_a_file(hook: Hook, tmp_path: Path) -> None:
    file = tmp_path / "hook"
    file.write_text(f"{hook.address}\n")
    for webhook in ("HOOK", str(file)):
        on_end = checked(None, webhook)
        assert on_end
        assert SECRET not in str(on_end)
        tell(on_end, NOTICE)
    text = "fitune: run-a failed: The card [31m is full."
    assert hook.got == [{"text": text, "content": text, "run": "run-a", "status": "failed"}] * 2


@pytest.mark.parametrize(
    ("answers", "times", "said"), [([500, 500, 200], 3, ""), ([404], 3, "refused, with status 404")]
)
def test_a_message_is_tried_three_times_and_the_address_never_printed(
    hook: Hook, capfd: pytest.CaptureFixture[str], answers: list[int], times: int, said: str
) -> None:
    hook.answers = answers
    tell(OnEnd(webhook="HOOK"), NOTICE)
    out, err = capfd.readouterr()
    assert len(hook.got) == times
    assert (said in out) if said else out == ""
    assert SECRET not in out + err


@pytest.mark.parametrize("address", [f"http://127.0.0.1:1/{SECRET}", f"http://[/{SECRET}", f"ftp://a/{SECRET}", ""])
def test_an_address_that_is_none_or_out_of_reach_is_told_without_it(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str
) -> None:
    monkeypatch.setenv("HOOK", address)
    tell(OnEnd(webhook="HOOK"), NOTICE)
    out = capfd.readouterr().out
    assert out.startswith("At the end of run-a: ")
    assert SECRET not in out


@pytest.mark.parametrize(
    ("command", "webhook", "said"),
    [
        ("curl -H 'Authorization: Bearer abcdefghijkl' x.org", None, "--on-end holds what looks like a secret"),
        (f"curl https://discord.com/api/webhooks/1/{SECRET}", None, "--on-end holds what looks like a secret"),
        ("curl https://me:pass@example.org/", None, "--on-end holds what looks like a secret"),
        (None, f"https://hooks.example.org/{SECRET}", "--webhook is an address, which may hold a secret"),
        (None, "NO_SUCH_HOOK", "there is neither such a variable nor such a file"),
    ],
)
def test_a_secret_is_refused_where_it_would_be_kept(command: str | None, webhook: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        checked(command, webhook)
    assert SECRET not in str(caught.value)


def test_a_file_of_an_address_is_kept_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hook").write_text("https://example.org/")
    assert checked("notify-send done", "hook") == OnEnd(command="notify-send done", webhook=str(tmp_path / "hook"))
    assert checked(None, None) is None


@pytest.mark.usefixtures("minute_of_steps")
def test_the_end_of_a_run_is_told_also_when_its_worker_is_killed_and_again_after_a_resume(
    make: Start, tmp_path: Path
) -> None:
    run, out = make("run-a"), tmp_path / "out"
    jobs.start(run, "train", on_end=OnEnd(command=f'echo "$FITUNE_RUN $FITUNE_STATUS" >> {out}'))
    (file,) = (tmp_path / "on_end").iterdir()
    assert (file.parent.stat().st_mode | file.stat().st_mode) & 0o077 == 0
    os.kill(run.holder_pid() or 0, 9)
    wait_until(lambda: out.exists() and out.read_text() == "run-a killed\n")
    jobs.start(run, "train")
    run.request_stop()
    wait_until(lambda: out.read_text() == "run-a killed\nrun-a stopped\n")
    assert (run.path / "on_end.log").read_text() == ""


def test_a_watcher_whose_run_goes_on_by_another_worker_tells_nothing(
    run: Run, tmp_path: Path, minute_of_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.start(run, "train")
    keep(run, OnEnd(command=f"touch {tmp_path}/told"))
    monkeypatch.setattr("sys.argv", ["watcher", str(run.path), "1"])
    watcher.main()
    assert not (tmp_path / "told").exists()


def test_no_command_is_taken_from_the_folder_of_a_run(run: Run) -> None:
    (run.path / "on_end.json").write_text('{"command": "touch owned"}')
    assert kept(run) is None


def test_a_run_with_another_name_is_told_all_the_same(run: Run) -> None:
    keep(run, OnEnd(command="true"))
    assert kept(runs.rename(run, "other")) == OnEnd(command="true")
