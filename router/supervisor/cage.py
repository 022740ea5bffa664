"""How an engine, or an operator's program, is put in its cage: it is started by `router.seal`, unknowing."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from router.settings.snapshot import ManagedSettings
from router.supervisor.belongings import readable

SEAL = (sys.executable, "-I", "-m", "router.seal", "--profile")


class Cage(Struct, frozen=True):
    """What the engine is left with. `weights`: paths or `package:NAME`; `key_file`: another file to read, or none.

    `control` hears of the seal, then is closed.
    """

    weights: Sequence[str]
    key_file: str
    state_directory: Path
    listener: int
    control: int
    required: Sequence[str]


def caged(command: Sequence[str], cage: Cage) -> list[str]:
    """The command that seals itself and then becomes `command`."""
    places = dict.fromkeys(place for weights in cage.weights for place in _places(weights))
    if cage.key_file:
        places[os.path.realpath(cage.key_file)] = None
    model = [part for place in places for part in ("--read", place)]
    required = [part for name in cage.required for part in ("--require", name)]
    return [
        *(*SEAL, "engine"),
        *(*model, "--write", str(cage.state_directory), *required),
        *("--hold", str(cage.listener), "--report", str(cage.control), "--", *command),
    ]


def caged_program(
    settings: ManagedSettings, own: Sequence[Path], report: int, required: Sequence[str], command: Sequence[str]
) -> list[str]:
    """The command that seals itself and then becomes `command`. `own`: its home, and where its socket lies."""
    reads = [*readable(command), *settings.read]
    writes = [*map(str, own), *settings.write]
    options = [("--read", path) for path in reads] + [("--write", path) for path in writes]
    options += [("--require", part) for part in required]
    options += [("--bind", str(settings.address[1]))] if settings.address[1] else []
    return [*SEAL, "program", *(word for option in options for word in option), "--report", str(report), "--", *command]


def _places(model: str) -> tuple[str, ...]:
    """Where a file of weights lies: its folder, and the one that it is a link into. A package's is installed code."""
    if model.startswith("package:"):
        return ()
    path = Path(model).absolute()
    return tuple(dict.fromkeys((str(path.parent), str(path.resolve().parent))))
