"""The process: listen, load, serve, drain, end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_engine.adapter_file import check_adapters
from local_engine.api.front import Front, read_keys
from local_engine.confine import keep_heap_small, shut_memory
from local_engine.fetch import weights
from local_engine.jobs import Loaded
from local_engine.lifeline import die_with
from local_engine.log_lines import start_logging
from local_engine.model_file import NoSuchModel
from local_engine.options import BadOptions, Options, parse
from local_engine.service import Service
from local_engine.worker.boot import Order, boot
from local_engine.worker.thread import Loop, Post

if TYPE_CHECKING:
    from local_engine.web import Server

BACKLOG = 512

log = logging.getLogger("local_engine")


def main() -> int:
    """0 after a clean end, 1 when the engine broke, 2 when the command line cannot be served."""
    try:
        options = parse()
        if options.parent is not None:
            die_with(options.parent)
        start_logging(f"engine-{options.spec.name}", options.log_level)
        shut_memory()
        keep_heap_small()
        find = weights(options.spec.model, options.spec.sha256, options.hub)
        find_eyes = _projector(options)
        key = _key(options)
        check_adapters(options.spec.lora)
        keys = read_keys(options.api_key_file)
        listener = _listener(options)
    except (BadOptions, NoSuchModel, OSError, ValueError) as error:
        print(f"local_engine: {error}", file=sys.stderr)  # noqa: T201 - the log may not be up yet
        return 2
    service = Service(
        functools.partial(_fetch_and_boot, options, Files(find, find_eyes, key)), options.spec.idle_unload
    )
    front = Front(service, options.spec, options.max_body, options.ready_wait, keys)
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(_serve(front, listener, options))


def _key(options: Options) -> bytes:
    """That prefixes are sealed with; empty when none are kept, and then no cipher is loaded."""
    if options.spec.keep is None:
        return b""
    from local_engine.prefix_file import read_key  # noqa: PLC0415 - see above

    return read_key(Path(options.spec.keep.key_file), options.spec.name)


def _projector(options: Options) -> Callable[[], Path | None]:
    """As `weights`, of the projector; of a model without one, nothing."""
    if not options.spec.mmproj:
        return lambda: None
    return weights(options.spec.mmproj, options.spec.mmproj_sha256, options.hub)


@dataclass(frozen=True, slots=True)
class Files:
    """What is found, or fetched, when the model is loaded; and the key that prefixes are sealed with."""

    model: Callable[[], Path]
    projector: Callable[[], Path | None]
    key: bytes


def _fetch_and_boot(options: Options, files: Files, post: Post) -> tuple[Loaded, Loop]:
    """On the engine thread: the server says "loading" meanwhile."""
    order = Order(options.spec, files.model(), options.state_dir, options.memory, files.key, files.projector())
    return boot(order, post)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - the only user

    return uvloop.new_event_loop()


async def _serve(front: Front, listener: socket.socket, options: Options) -> int:
    front.service.start()
    # While the engine thread reads the model: a start is shorter by what these imports take.
    from local_engine.web import make_server  # noqa: PLC0415 - see above

    server = make_server(front, options.drain)
    front.service.on_failure = functools.partial(_end_if_it_served, server, front.service)
    log.info("listening on %s", _name(listener))
    await server.serve(sockets=[listener])
    front.service.stop()
    _forget_path(options)
    return 1 if server.broken else 0


def _end_if_it_served(server: Server, service: Service) -> None:
    """A model that never loaded is said in /health; an engine that broke is replaced by whoever supervises."""
    if service.served:
        server.broken = server.should_exit = True


def _listener(options: Options) -> socket.socket:
    """The inherited socket, a new UNIX socket of mode 0600, or a TCP socket."""
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    if options.socket is not None:
        options.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(options.socket))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
        return listener
    family = socket.AF_INET6 if ":" in (options.host or "") else socket.AF_INET
    return socket.create_server((options.host or "", options.port), family=family, backlog=BACKLOG)


def _forget_path(options: Options) -> None:
    if options.socket is not None:
        Path(options.socket).unlink(missing_ok=True)


def _name(listener: socket.socket) -> str:
    name = listener.getsockname()
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "an inherited socket")
