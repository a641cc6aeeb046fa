"""A data set on the Hub, by the real client against a loopback server that speaks the Hub's HTTP API."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import huggingface_hub.constants
import pytest

from fitune.core.data.dataset import inspect, preview, rows
from fitune.core.errors import UserError
from fitune.core.recipe.data_fields import Data

SHA = "0" * 40
ROWS = {name: b'{"question": "Why %s?", "answer": "So."}\n' % name for name in (b"train", b"test", b"socratic", b"one")}
MARKED = {"README.md": b"About it.", "data/train-00000.jsonl": ROWS[b"train"], "data/test-00000.jsonl": ROWS[b"test"]}
SUBSETS = {"main/a.jsonl": ROWS[b"one"], "socratic/a.jsonl": ROWS[b"socratic"]}
REPOS: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {
    "jo/marked": (MARKED, {}),
    "jo/card": (
        {"x/1.jsonl": ROWS[b"one"], "x/2.jsonl": ROWS[b"test"]},
        {
            "configs": [
                {
                    "config_name": "default",
                    "data_files": [{"split": "train", "path": "x/1*"}, {"split": "test", "path": ["x/2.jsonl"]}],
                }
            ]
        },
    ),
    "jo/subsets": (
        SUBSETS,
        {"configs": [{"config_name": name, "data_files": f"{name}/*"} for name in ("main", "socratic")]},
    ),
    "jo/script": ({"load.py": b"print()"}, {}),
}
REFUSALS = {
    "jo/gated": (403, "GatedRepo"),
    "jo/missing": (401, "RepoNotFound"),
    "jo/nowhere": (404, "RepoNotFound"),
    "jo/forbidden": (403, ""),
    "jo/down": (500, ""),
}


class Hub(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        kind, repo, rest = self._parts(path)
        if repo in REFUSALS:
            status, code = REFUSALS[repo]
            self._send(status, b"", {"X-Error-Code": code} if code else {}, with_body)
            return
        files, card = REPOS[repo]
        if kind == "api":
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            info = {"id": repo, "sha": SHA, "siblings": siblings, "cardData": card}
            self._send(200, json.dumps(info).encode(), {}, with_body)
        else:
            self._send(200, files[rest], {"ETag": f'"{hash(rest)}"', "X-Repo-Commit": SHA}, with_body)

    @staticmethod
    def _parts(path: str) -> tuple[str, str, str]:
        if path.startswith("/api/datasets/"):
            return "api", path.removeprefix("/api/datasets/"), ""
        repo, _, rest = path.removeprefix("/datasets/").partition(f"/resolve/{SHA}/")
        return "file", repo, rest

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Tests ask `asked` instead."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    class HubOfOneTest(Hub):
        asked: ClassVar[list[str]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), HubOfOneTest)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.chdir(tmp_path)
    here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", here)
    template = f"{here}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield HubOfOneTest.asked
    server.shutdown()
    server.server_close()


FOUND = (
    ("jo/marked", "train", ("data/train-00000.jsonl",), "Why train?"),
    ("jo/marked", "test", ("data/test-00000.jsonl",), "Why test?"),
    ("jo/card", "train", ("x/1.jsonl",), "Why one?"),
    ("jo/card", "test", ("x/2.jsonl",), "Why test?"),
    ("jo/subsets/main", "train", ("main/a.jsonl",), "Why one?"),
    ("jo/subsets/socratic", "train", ("socratic/a.jsonl",), "Why socratic?"),
)


@pytest.mark.parametrize(("source", "split", "files", "asked"), FOUND)
def test_the_files_of_a_split_are_found(
    hub: list[str], source: str, split: str, files: tuple[str, ...], asked: str
) -> None:
    report = preview(Data(source=source, split=split))
    assert report.files == files
    assert report.preview[0]["messages"][0]["content"] == asked


def test_only_what_is_read_is_downloaded(hub: list[str]) -> None:
    assert len(list(rows(Data(source="jo/marked")))) == 1
    assert [each for each in hub if each.startswith("GET") and "datasets/" in each] == [
        "GET /api/datasets/jo/marked",
        f"GET /datasets/jo/marked/resolve/{SHA}/data/train-00000.jsonl",
    ]


REFUSED = (
    ("jo/gated", "train", "on request only", "huggingface.co/datasets/jo/gated"),
    ("jo/missing", "train", "no data set jo/missing", "log in"),
    ("jo/nowhere", "train", "no data set jo/nowhere", "spelling"),
    ("jo/forbidden", "train", "HTTP status 403", "Log in"),
    ("jo/down", "train", "HTTP status 500", "Try again"),
    ("jo/marked", "dev", "no split dev", 'data.split = "test"'),
    ("jo/card", "dev", "no split dev; it has train, test", 'data.split = "train"'),
    ("jo/subsets", "train", "2 subsets: main, socratic", 'data.source = "jo/subsets/main"'),
    ("jo/subsets/other", "train", "no subset other", "main, socratic"),
    ("jo/script", "train", "no file that fitune reads", "does not run"),
    ("jo/--bad..name", "train", "neither a file here nor a name", "spelling"),
)


@pytest.mark.parametrize(("source", "split", "said", "hint"), REFUSED)
def test_what_the_hub_does_not_hand_out_is_said_plainly(
    hub: list[str], source: str, split: str, said: str, hint: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        inspect(Data(source=source, split=split))
    assert hint in refused.value.hint


def test_without_a_network_the_file_is_what_was_probably_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"no file jo/data here, and the Hub can't be reached"):
        inspect(Data(source="jo/data"))


def test_a_token_that_cannot_be_sent_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "“hf_secret”")
    with pytest.raises(UserError, match="The Hub token holds characters that no token has"):
        inspect(Data(source="jo/data"))


def test_a_login_page_in_place_of_the_hub_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def page(*_: Any, **__: Any) -> None:
        httpx.Response(200, text="<html>").json()

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", page)
    with pytest.raises(UserError, match="the Hub can't be reached"):
        inspect(Data(source="jo/data"))


def test_a_path_that_looks_like_a_file_never_asks_the_hub(hub: list[str]) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        inspect(Data(source="data/train.jsonl"))
    assert hub == []
