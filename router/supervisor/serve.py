"""`ringfence serve`: bind, start the tree, wait for a signal, drain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from router.continuity import run_directory as beside
from router.expiry import tell
from router.logs import Log, hear_libraries
from router.seal.process import gain_nothing, shut_memory
from router.settings.snapshot import Snapshot
from router.supervisor.obey import Commander
from router.supervisor.orders import Orders
from router.supervisor.reload import Load, Reloader, Say
from router.supervisor.tree import ENGINE_STATE, Tree
from router.unforeseen import hear, kept_up, spawn

BACKLOG = 2048
_SOURCES: Final = {
    "environment": "upstreams from the environment: CUSTOM_LLM_*, TIERn_*",
    "defaults": "no upstream is named anywhere: the embedded engine alone",
}


class CannotServe(Exception):
    """The service cannot start, or cannot go on; the message is for the operator."""


def serve(snapshot: Snapshot, environment: Mapping[str, str], say: Say, reload: Load) -> None:
    """Run the service until SIGINT or SIGTERM; CannotServe tells why it could not.

    SIGHUP calls `reload` for new settings; a mistake in them is said, and the old ones stay in force.
    """
    shut_memory()  # it holds the credentials that it gives to the gate
    gain_nothing()
    hear_libraries(Log("supervisor"))
    with _listener(snapshot) as listener, _run_directory(run_directory(snapshot)) as own:
        asyncio.run(_serve(snapshot, listener, own, environment, say, reload))


def run_directory(snapshot: Snapshot) -> Path:
    """The engines' sockets, what engines and programs keep, and which log the ledger is."""
    return beside(Path(snapshot.audit.directory))


def engine_state(snapshot: Snapshot) -> Path:
    """What engines keep between starts: verdicts on this machine's CPU, no prompt."""
    return run_directory(snapshot) / ENGINE_STATE


async def _serve(
    snapshot: Snapshot, listener: socket.socket, directory: Path, environment: Mapping[str, str], say: Say, reload: Load
) -> None:
    tree = Tree(snapshot, listener, directory, environment)
    loop, log = asyncio.get_running_loop(), Log("supervisor")
    hear(loop, log)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tree.stop)
    reloader = Reloader(snapshot, tree, reload, say)
    commander = Commander(reloader, tree.managed, tree.anchoring)
    tree.on_asked = commander.asked
    orders = Orders(directory, commander.obey)
    orders.start()
    tasks: set[asyncio.Task[None]] = set()
    spawn(_greet(tree, _greeting(snapshot, listener), say), tasks)
    spawn(kept_up("watching the settings' files", reloader.watch, log), tasks)
    ending = partial(tell, lambda: [("'listen.tls'", reloader.front.ends)], log)
    spawn(kept_up("warnings of certificates that end", ending, log), tasks)
    loop.add_signal_handler(signal.SIGHUP, lambda: spawn(reloader.signalled(), tasks))
    await tree.run()
    orders.close()
    for task in tuple(tasks):
        task.cancel()
    if tree.failure is not None:
        raise CannotServe(tree.failure)


async def _greet(tree: Tree, greeting: str, say: Say) -> None:
    """Not before it is true: the gate has its ledger, and the workers take requests."""
    await tree.serving.wait()
    say(greeting)


def _greeting(snapshot: Snapshot, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    count = len(snapshot.keys)
    keys = "no keys needed on loopback" if snapshot.policy.any_caller else f"{count} key{'s' if count != 1 else ''}"
    settings = _SOURCES.get(snapshot.source, f"settings from {snapshot.source}")
    where = f"ledger in {snapshot.audit.directory}; pid {os.getpid()}"
    scheme = "https" if snapshot.listen.tls else "http"
    return f"Ringfence listens on {scheme}://{shown}:{port}/v1 ({settings}; {keys}); {where}"


@contextmanager
def _listener(snapshot: Snapshot) -> Iterator[socket.socket]:
    """Bound before anything is started, so that a taken port is said at once."""
    listen = snapshot.listen
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((listen.host, listen.port))
        except OSError as error:
            raise CannotServe(f"cannot listen on {listen.host}:{listen.port}: {error.strerror}") from None
        sock.listen(BACKLOG)
        sock.setblocking(False)
        yield sock


@contextmanager
def _run_directory(parent: Path) -> Iterator[Path]:
    """A private directory for the engines' sockets; what dead services left there is removed."""
    own = parent / str(os.getpid())
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in parent.iterdir():
            if left.name.isdigit() and not Path(f"/proc/{left.name}").exists():
                shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(mode=0o700)
    except OSError as error:
        raise CannotServe(f"cannot make {own} for the service's sockets: {error.strerror}") from None
    try:
        yield own
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(own)
