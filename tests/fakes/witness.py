"""A small witness (C2SP tlog-witness, tlog-cosignature) over HTTP: it knows logs by key, checks, remembers, cosigns."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "/witness"


@dataclass
class Witness:
    """`logs`: origin to Ed25519 key; `known`: origin to size and root."""

    name: str = "witness.example/w1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    logs: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    breaks: str = ""  # how it misbehaves: an answer to give instead
    url: str = ""

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n\x04" + self.key.public_key().public_bytes_raw()).digest()[:4]

    @property
    def vkey(self) -> str:
        encoded = base64.b64encode(b"\x04" + self.key.public_key().public_bytes_raw()).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def trust(self, vkey: str) -> None:
        name, _, rest = vkey.strip().partition("+")
        self.logs[name] = base64.b64decode(rest.partition("+")[2])[1:]

    def add_checkpoint(self, body: str) -> tuple[int, str]:
        """Status and body, as the specification orders the checks."""
        self.asked.append(body)
        head, _, note = body.partition("\n\n")
        old_line, *proof = head.split("\n")
        text, _, signatures = note.partition("\n\n")
        origin, size_text, root_text = text.split("\n")
        if origin not in self.logs:
            return 404, "unknown log"
        if not self._signed(origin, text + "\n", signatures):
            return 403, "not signed by that log"
        size, root, old = int(size_text), base64.b64decode(root_text), int(old_line.removeprefix("old "))
        known_size, known_root = self.known.get(origin, (0, b""))
        if old > size:
            return 400, "old is beyond the checkpoint"
        if old != known_size or (old == size and known_root not in (b"", root)):
            return 409, f"{known_size}\n"
        if not consistent(old, size, known_root, root, [base64.b64decode(line) for line in proof]):
            return 422, "the proof does not prove it"
        self.known[origin] = size, root
        return 200, self._cosign(text + "\n")

    def _signed(self, origin: str, text: str, signatures: str) -> bool:
        key = Ed25519PublicKey.from_public_bytes(self.logs[origin])
        for line in signatures.splitlines():
            _, name, blob = line.split(" ")
            if name == origin:
                try:
                    key.verify(base64.b64decode(blob)[4:], text.encode())
                except InvalidSignature:
                    continue
                return True
        return False

    def _cosign(self, text: str) -> str:
        moment = int(time.time())
        signature = self.key.sign(f"cosignature/v1\ntime {moment}\n{text}".encode())
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + moment.to_bytes(8, 'big') + signature).decode()}\n"


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """By RFC 6962's definition of the proof, read backwards: both roots from one path."""
    if old in (0, new):
        return not proof and (old == 0 or old_root == new_root)

    def roots(old: int, new: int, path: list[bytes], *, whole: bool) -> tuple[bytes, bytes]:
        if old == new:
            return (old_root, old_root) if whole else (path[0], path[0])
        half = 1 << ((new - 1).bit_length() - 1)
        *rest, last = path
        if old <= half:
            left_old, left_new = roots(old, half, rest, whole=whole)
            return left_old, node(left_new, last)
        right_old, right_new = roots(old - half, new - half, rest, whole=False)
        return node(last, right_old), node(last, right_new)

    try:
        return roots(old, new, proof, whole=True) == (old_root, new_root)
    except (IndexError, ValueError):
        return False


@contextmanager
def running_witness() -> Iterator[Witness]:
    witness = Witness()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            known = self.path == f"{PREFIX}/add-checkpoint"
            status, answer = witness.add_checkpoint(body) if known else (404, "no such path")
            if witness.breaks:
                status, answer = 200, witness.breaks
            data = answer.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/x.tlog.size" if status == 409 else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    witness.url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
    try:
        yield witness
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
