"""A fake model server, as an operator's command would start it: real processes that load, crash, hang, have children.

`python -m tests.fakes.model_server --port N | --socket PATH [--load S] [--hang] [--crash-after S] [--child] [--deaf]
[--card FILE] --events FILE`. `--card` is locked for as long as it lives: one that finds it taken writes `clash`. Events
are lines of `what pid`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TextIO

GRANDCHILD = "import os,signal,time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def note(arguments: argparse.Namespace, what: str, pid: int) -> None:
    with arguments.events.open("a") as file:
        file.write(f"{what} {pid}\n")


class Handler(BaseHTTPRequestHandler):
    """Health, models, and chats that take `--answer` seconds."""

    protocol_version = "HTTP/1.1"
    arguments: argparse.Namespace
    loaded_at = 0.0
    card: TextIO

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        print(format % args, flush=True)

    def do_GET(self) -> None:
        if time.monotonic() < self.loaded_at:
            self._say(503, {"error": {"message": "Loading model"}})
        else:
            self._say(200, {"object": "list", "data": [{"id": self.arguments.name, "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        note(self.arguments, "asked", os.getpid())
        time.sleep(self.arguments.answer)
        message = {"role": "assistant", "content": f"I am {self.arguments.name}"}
        self._say(200, {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": message}]})
        note(self.arguments, "answered", os.getpid())

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def take_card(arguments: argparse.Namespace) -> None:
    """Held until this process and all that it started without closing it are gone."""
    card = arguments.card.open("w")
    try:
        fcntl.flock(card, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(arguments, "clash", os.getpid())
        sys.exit(3)
    os.set_inheritable(card.fileno(), True)
    Handler.card = card


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="fake-model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--card", type=Path)
    parser.add_argument("--load", type=float, default=0.0)
    parser.add_argument("--answer", type=float, default=0.0)
    parser.add_argument("--crash-after", type=float, default=0.0)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--reach", type=int, help="try to reach this loopback port, and note how that went")
    arguments = parser.parse_args()
    note(arguments, "started", os.getpid())
    print(f"loading {arguments.name}; {sorted(os.environ)}", flush=True)  # noqa: TID251 - what it was given is the point
    if arguments.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if arguments.card is not None:
        take_card(arguments)
    if arguments.child:
        child = subprocess.Popen([sys.executable, "-c", GRANDCHILD], close_fds=False)
        note(arguments, "child", child.pid)
    if arguments.reach:
        try:
            socket.create_connection(("127.0.0.1", arguments.reach), 1).close()
            note(arguments, "reached", os.getpid())
        except OSError:
            note(arguments, "unreachable", os.getpid())
    if arguments.hang:
        time.sleep(600)
    if arguments.crash_after:
        threading.Timer(arguments.crash_after, os._exit, (7,)).start()
    Handler.arguments, Handler.loaded_at = arguments, time.monotonic() + arguments.load
    server: socketserver.BaseServer
    if arguments.socket is not None:
        server = UnixServer(str(arguments.socket), Handler)
    else:
        server = TcpServer(("127.0.0.1", arguments.port), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
