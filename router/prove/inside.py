"""`python -I -m router.prove.inside DIRECTORY`, in the isolated namespace: stage, witnesses, service, steps, report."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from router.prove.internet import Internet
from router.prove.packets import Target
from router.prove.report import Done, Report, write
from router.prove.service import Broken, Service
from router.prove.stage import NAMESERVER, CannotProve, set_up
from router.prove.steps import HOSTILE_ENVIRONMENT, NAMES, POLICY, Step, steps
from router.prove.witness import Witness, without

LISTED = {
    Target("10.1.2.3", "tcp", 8000): "upstream first",
    Target("10.1.2.4", "tcp", 8000): "upstream second",
    Target("10.1.2.5", "tcp", 8001): "upstream named",
    Target("10.1.2.6", "tcp", 8001): "upstream table",
    Target("10.1.2.7", "tcp", 8080): "upstream later",
    Target("10.1.2.8", "tcp", 8080): "model source hub",
    Target("10.1.2.9", "tcp", 8080): "model source files",
    Target(NAMESERVER, "udp", 53): "the name server",
}
More = Callable[[Service], Iterable[Step]]


def prove(directory: Path, say: Callable[[str], None], more: More = lambda _: ()) -> Report:
    """Drive and watch. `more`: steps before the others."""
    internet = open_internet()
    witness = Witness()
    (directory / "policy.yaml").write_text(POLICY)
    service = Service(directory, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **HOSTILE_ENVIRONMENT})
    done: list[Done] = []
    for step in (*more(service), *steps(service, internet, directory)):
        done.append(_taken(step))
        say(f"{step.name}: {done[-1].result}")
    clients = {Target("127.0.0.1", "tcp", port) for port in service.ports}
    seen = without(witness.seen(), clients)
    return Report(tuple(done), seen, LISTED, frozenset(NAMES), frozenset(internet.asked))


def open_internet() -> Internet:
    """Running in a thread of its own."""
    internet, loop, opened = Internet(NAMES), asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        await internet.open()
        opened.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True).start()
    if not opened.wait(10):
        raise CannotProve("the internet inside could not be opened")
    return internet


def _taken(step: Step) -> Done:
    try:
        status = step.run()
    except (OSError, Broken) as error:
        return Done(
            step.name, f"{type(error).__name__}: {error}", good=not step.wanted and not isinstance(error, Broken)
        )
    return Done(step.name, str(status), good=not step.wanted or status in step.wanted)


def main() -> int:
    """0: proved; 1: not; 2: this could not be tried."""
    directory = Path(sys.argv[1]).resolve()
    try:
        set_up(directory)
        report = prove(directory, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - its progress
        write(report, directory)
    except CannotProve as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except Broken as error:
        print(f"the service is broken: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
