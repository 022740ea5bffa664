"""The command line's side of a pull: start the process, give it its order, hear its news."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from router.pull.order import AnyNews, Failed, PullOrder


def run_pull(order: PullOrder, environment: Mapping[str, str], hear: Callable[[AnyNews], None]) -> int:
    """Its exit code. What it says is passed on as it comes; its standard error goes to ours."""
    command = [sys.executable, "-I", "-m", "router.pull"]
    pipes = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipes, stdout=pipes, env=dict(environment), start_new_session=True) as process:
        try:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # it has died already: how is told below
                    process.stdin.write(msgspec.msgpack.encode(order))
                    process.stdin.close()
            for line in process.stdout or ():
                hear(msgspec.json.decode(line, type=AnyNews))
        except BaseException:
            process.kill()  # what has come so far is kept: a later pull goes on from there
            raise
    if process.returncode < 0:
        hear(Failed("", f"the pulling process ended by signal {-process.returncode}"))
    return 1 if process.returncode else 0
