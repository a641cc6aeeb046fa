"""As much of the Hub's HTTP API as an upload needs, on the loopback device: one user, any repository, files kept."""

import base64
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Hub:
    """What the server knows; a test may set it before, and read it afterwards."""

    token: str
    writable: bool = True
    role: str = "write"
    """Of the token; as the Hub names them."""
    scoped: tuple[str, ...] = ()
    """Where a fine-grained token may write."""
    loses: str = ""
    """A file that it accepts and then does not have."""
    spoils: str = ""
    """A file that it keeps with another content of the same size."""
    answers: dict[str, list[int]] = field(default_factory=dict)
    """Statuses with which it refuses, one after the other, what has this in its path."""
    cuts: int = 0
    """So many uploads of large files lose their connection in the middle."""
    stalls_after: int | None = None
    """Uploads of large files after which none comes to its end."""
    private: dict[str, bool] = field(default_factory=dict)
    """The repositories, and whether each is private."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What was committed to main, whatever the repository."""
    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """What was committed to the other branches, by their names."""
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The metadata of other people's model cards, by repository."""
    refuses_card: bool = False
    """Whether the head of every README.md is bad metadata."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    url: str = ""

    @property
    def uploads(self) -> list[str]:
        """The sha256 of each large file that was sent, in order."""
        return [each.rpartition("/")[2] for each in self.asked if each.startswith("PUT /blob/")]


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start the server in a thread; `shutdown` ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            """Nothing on the test's output."""

        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

        def do_PUT(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            if hub.cuts:
                hub.cuts -= 1
                self.rfile.read(length // 2)
                self.close_connection = True
                self.connection.close()
                return
            self.answer(self.rfile.read(length))

        def answer(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            if refusals := next((left for part, left in hub.answers.items() if part in path and left), None):
                self.send(refusals.pop(0), {"error": "Not now."})
            elif path.startswith("/blob/"):
                while hub.stalls_after is not None and len(hub.blobs) >= hub.stalls_after:
                    time.sleep(0.02)
                hub.blobs[path.removeprefix("/blob/")] = body
                self.send(200, {})
            elif self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.send(401, {"error": "Invalid username or password."})
            elif path == "/api/whoami-v2":
                scopes = [{"entity": {"name": name}, "permissions": ["repo.write"]} for name in hub.scoped]
                token = {"role": hub.role, "fineGrained": {"scoped": scopes} if hub.role == "fineGrained" else None}
                auth = {"type": "access_token", "accessToken": token}
                self.send(200, {"type": "user", "name": "ada", "orgs": [], "auth": auth})
            elif self.command == "POST" and not hub.writable:
                self.send(403, {"error": "You don't have the rights to do that."})
            elif path == "/api/repos/create":
                self.create(json.loads(body))
            else:
                self.of_repository(path, body)

        def create(self, wanted: dict[str, Any]) -> None:
            name = f"{wanted.get('organization') or 'ada'}/{wanted['name']}"
            known = name in hub.private
            private = wanted.get("private", wanted.get("visibility") == "private")
            hub.private.setdefault(name, bool(private))
            self.send(409 if known else 200, {"url": f"{hub.url}/{name}", "name": name, "error": "exists"})

        def of_repository(self, path: str, body: bytes) -> None:
            name, revision = "/".join(path.split("/")[3:5]), path.rpartition("/")[2]
            if path == "/api/validate-yaml":
                bad = [{"message": '"license" must be one of those known'}] if hub.refuses_card else []
                self.send(400 if bad else 200, {"errors": bad, "warnings": []})
            elif "/commits/" in path:
                self.send(200, [{"id": "1" * 40, "title": "initial commit", "message": "", "authors": [],
                                 "date": "2026-11-22T08:00:00.000Z"}])  # fmt: skip
            elif "/resolve/" in path:
                self.send(200, on(hub, path.split("/")[4])[revision])
            elif "/branch/" in path:
                self.branch(revision, json.loads(body))
            elif "/preupload/" in path:
                files = [each["path"] for each in json.loads(body)["files"]]
                self.send(200, {"files": [{"path": name, "uploadMode": mode(name), "shouldIgnore": False,
                                           "oid": None} for name in files]})  # fmt: skip
            elif path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(body)["objects"]
                objects = [
                    each if each["oid"] in hub.blobs  # nothing to do: it is there
                    else each | {"actions": {"upload": {"href": f"{hub.url}/blob/{each['oid']}"}}}
                    for each in wanted
                ]  # fmt: skip
                self.send(200, {"transfer": "basic", "objects": objects})
            elif "/commit/" in path:
                for line in body.splitlines():
                    self.take(json.loads(line), on(hub, revision))
                self.send(200, {"commitUrl": f"{hub.url}/ada/x/commit/{'0' * 40}", "commitOid": "0" * 40})
            elif "/tree/" in path:
                self.send(200, [entry(name, content, name == hub.spoils)
                                for name, content in on(hub, revision).items() if name != hub.loses])  # fmt: skip
            elif name in hub.cards:
                self.send(200, {"id": name, "private": False, "siblings": [], "tags": [], "cardData": hub.cards[name]})
            else:
                if name not in hub.private:
                    self.send(404, {"error": "Repository not found"})
                    return
                self.send(200, {"id": name, "private": hub.private[name], "siblings": [], "tags": []})

        def branch(self, name: str, wanted: dict[str, Any]) -> None:
            known = name in hub.branches
            start = {} if wanted.get("startingPoint") == "1" * 40 else dict(hub.files)
            hub.branches.setdefault(name, start)
            self.send(409 if known else 200, {"error": "exists"})

        def take(self, line: dict[str, Any], files: dict[str, bytes]) -> None:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]

        def send(self, status: int, content: Any) -> None:
            coded = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(content, bytes) else "application/json")
            self.send_header("Content-Length", str(len(coded)))
            self.end_headers()
            self.wfile.write(coded)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def on(hub: Hub, revision: str) -> dict[str, bytes]:
    """The files of a branch."""
    return hub.files if revision == "main" else hub.branches[revision]


def mode(name: str) -> str:
    """Large files go through LFS, as on the Hub."""
    return "lfs" if name.endswith((".safetensors", "tokenizer.json")) else "regular"


def entry(name: str, content: bytes, spoiled: bool) -> dict[str, Any]:
    """A file in a listing, with the hashes that the Hub tells."""
    content = bytes(reversed(content)) if spoiled else content
    told = {"type": "file", "path": name, "size": len(content)}
    told["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if mode(name) == "lfs":
        told["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return told
