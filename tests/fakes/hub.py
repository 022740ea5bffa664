"""A Hub and its content delivery network on loopback: redirects, ranges, digests, and every way to go wrong."""

from __future__ import annotations

import hashlib
import re
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
REPO, FILE = "tiny/model-GGUF", "tiny.gguf"


def gguf(padding: int = 0, template: str | None = None) -> bytes:
    """The smallest file that is a GGUF model by its header: facts, one tensor, and `padding` bytes of weights."""
    facts = [("general.architecture", "llama")]
    if template is not None:
        facts.append(("tokenizer.chat_template", template))
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(facts))
    for key, value in facts:
        head += _text(key) + struct.pack("<I", 8) + _text(value)
    head += _text("w") + struct.pack("<IQIQ", 1, 1, 0, 0)
    return head + b"\0" * (-len(head) % 32) + bytes(number % 251 for number in range(padding))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


@dataclass
class Hub:
    """`content`: the file; `others`: more files by name.

    Faults: `cut_after` bytes of each answer (once for each number), `lie_*` in what is said.
    """

    content: bytes
    others: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    cdn_url: str = ""
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the Hub's next answers, instead of what is right
    send_on_to: str = ""  # instead of the content delivery network
    lie_size: int | None = None  # X-Linked-Size
    lie_digest: str | None = None  # X-Linked-ETag
    altered: bool = False  # the last byte differs from what the digest says
    deaf_to_ranges: bool = False
    direct: bool = False  # the Hub itself hands the file out, as it does small ones
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # server, path, headers
    sent: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def file(self, path: str) -> bytes | None:
        """By its name on the Hub, or by its digest on the content delivery network."""
        files = {FILE: self.content, **self.others}
        asked = re.fullmatch(rf"/{REPO}/resolve/[^/]+/([^/]+)", path)
        if asked:
            return files.get(asked[1])
        blob = path.partition("?")[0].removeprefix("/blob/")
        return next((one for one in files.values() if hashlib.sha256(one).hexdigest() == blob), None)

    def ranges(self) -> list[str]:
        return [headers.get("range", "") for server, _, headers in self.requests if server == "cdn"]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    name = ""
    content = b""

    def do_GET(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.requests.append((self.name, self.path, headers))
        found = self.hub.file(self.path)
        self.content = found or b""
        if self.name == "cdn":
            self._file({})
        elif self.hub.statuses:
            self._empty(self.hub.statuses.pop(0), {})
        elif found is None:
            self._empty(404, {})
        elif self.hub.direct:
            self._file({"ETag": '"abc"', "X-Repo-Commit": COMMIT})
        else:
            self._redirect()

    def _redirect(self) -> None:
        own = hashlib.sha256(self.content).hexdigest()
        size = len(self.content) if self.hub.lie_size is None else self.hub.lie_size
        digest = own if self.hub.lie_digest is None else self.hub.lie_digest
        linked = {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
        where = self.hub.send_on_to or f"{self.hub.cdn_url}/blob/{own}?Signature=s~_-&Expires=1"
        self._empty(302, {**linked, "Location": where})

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, headers: dict[str, str]) -> None:
        content = self.content[:-1] + b"?" if self.hub.altered else self.content
        asked = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and not self.hub.deaf_to_ranges else 0
        if start >= len(content):
            self._empty(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if start or (asked and not self.hub.deaf_to_ranges) else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        body = content[start:]
        cut = self.hub.cut_after.pop(0) if self.hub.cut_after else len(body)
        self.wfile.write(body[:cut])
        self.wfile.flush()
        self.hub.sent += len(body[:cut])
        if cut < len(body):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def fake_hub(content: bytes, tls: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """Both servers, for the length of the block."""
    hub = Hub(content)
    scheme = "http" if tls is None else "https"
    servers = []
    for name in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "name": name, "protocol_version": "HTTP/1.1"})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    hub.url, hub.cdn_url = (f"{scheme}://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
