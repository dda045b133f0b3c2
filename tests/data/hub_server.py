"""A local server with the part of the Hugging Face Hub protocol that downloads use."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, each a dictionary of files; faults to simulate; requests received."""

    repositories: dict[str, dict[str, bytes]]
    break_after: int | None = None  # first transfer of each file stops after this many bytes
    corrupt: bool = False
    status: int = 200  # HTTP status of listings
    hashes: bool = True  # whether listings give a sha256 (the Hub: large files only)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    url: str = ""
    _broken: set[str] = field(default_factory=set)


def promise(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.requests.append(f"{self.command} {path}")
            if path.startswith("/api/datasets/"):
                self.listing("/".join(path.split("/")[3:5]), path)
            else:
                _, _, owner, name, _, _, *rest = path.split("/")
                self.file(hub.repositories[f"{owner}/{name}"]["/".join(rest)], path, body)

        def listing(self, name: str, path: str) -> None:
            if hub.status != 200:
                return self.send(hub.status, b"{}", {})
            if name not in hub.repositories:
                return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if "/revision/" in path and not path.endswith(("/main", COMMIT)):
                return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            siblings = [
                {
                    "rfilename": file,
                    "size": len(content),
                    **({"lfs": promise(content)} if hub.hashes else {}),
                }
                for file, content in hub.repositories[name].items()
            ]
            return self.send(
                200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
            )

        def file(self, content: bytes, path: str, body: bool) -> None:
            digest = hashlib.sha256(content).hexdigest()
            headers = {
                "ETag": f'"{digest}"',
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(content)),
            }
            wanted = self.headers.get("Range")
            start = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
            if wanted and body:
                hub.ranges.append(wanted)
            if hub.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            part = content[start:]
            if wanted:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if body and hub.break_after is not None and path not in hub._broken:
                hub._broken.add(path)
                self.send(206 if wanted else 200, part, headers, stop_after=hub.break_after)
            else:
                self.send(206 if wanted else 200, part if body else b"", headers, length=len(part))

        def send(
            self,
            status: int,
            content: bytes,
            headers: dict[str, str] | None = None,
            length: int | None = None,
            stop_after: int | None = None,
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[:stop_after])
            if stop_after is not None:
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
