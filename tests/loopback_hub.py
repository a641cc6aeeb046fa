"""As much of the Hub's HTTP API as an upload needs, on the loopback device: one user, any repository, files kept."""

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Hub:
    """What the server knows; a test may set it before, and read it afterwards."""

    token: str
    writable: bool = True
    loses: str = ""
    """A file that it accepts and then does not have."""
    private: dict[str, bool] = field(default_factory=dict)
    """The repositories, and whether each is private."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What was committed, whatever the repository."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    url: str = ""


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start the server in a thread; `shutdown` ends it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Nothing on the test's output."""

        def do_GET(self) -> None:
            self.answer(b"")

        do_POST = do_PUT = lambda self: self.answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

        def answer(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            if path.startswith("/blob/"):
                hub.blobs[path.removeprefix("/blob/")] = body
                self.send(200, {})
            elif self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.send(401, {"error": "Invalid username or password."})
            elif path == "/api/whoami-v2":
                self.send(200, {"type": "user", "name": "ada", "orgs": [], "auth": {"type": "access_token"}})
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
            if path == "/api/validate-yaml":
                self.send(200, {"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = [each["path"] for each in json.loads(body)["files"]]
                self.send(200, {"files": [{"path": name, "uploadMode": mode(name), "shouldIgnore": False,
                                           "oid": None} for name in files]})  # fmt: skip
            elif path.endswith("/info/lfs/objects/batch"):
                wanted = json.loads(body)["objects"]
                objects = [each | {"actions": {"upload": {"href": f"{hub.url}/blob/{each['oid']}"}}} for each in wanted]
                self.send(200, {"transfer": "basic", "objects": objects})
            elif "/commit/" in path:
                for line in body.splitlines():
                    self.take(json.loads(line))
                self.send(200, {"commitUrl": f"{hub.url}/ada/x/commit/{'0' * 40}", "commitOid": "0" * 40})
            elif "/tree/" in path:
                self.send(200, [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in hub.files.items() if name != hub.loses
                ])  # fmt: skip
            else:
                name = "/".join(path.split("/")[3:5])
                if name not in hub.private:
                    self.send(404, {"error": "Repository not found"})
                    return
                self.send(200, {"id": name, "private": hub.private[name], "siblings": [], "tags": []})

        def take(self, line: dict[str, Any]) -> None:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.blobs[value["oid"]]

        def send(self, status: int, content: Any) -> None:
            coded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(coded)))
            self.end_headers()
            self.wfile.write(coded)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def mode(name: str) -> str:
    """Large files go through LFS, as on the Hub."""
    return "lfs" if name.endswith((".safetensors", "tokenizer.json")) else "regular"
