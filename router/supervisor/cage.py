"""How an engine is put in its cage: started through `router.seal`, of which it knows nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cage:
    """What the engine is left with. `weights`: paths or `package:NAME`; `control` hears of the seal, then is closed."""

    weights: Sequence[str]
    state_directory: Path
    listener: int
    control: int
    required: Sequence[str]


def caged(command: Sequence[str], cage: Cage) -> list[str]:
    """The command that seals itself and then becomes `command`."""
    places = dict.fromkeys(place for weights in cage.weights for place in _places(weights))
    model = [part for place in places for part in ("--read", place)]
    required = [part for name in cage.required for part in ("--require", name)]
    return [
        *(sys.executable, "-I", "-m", "router.seal", "--profile", "engine"),
        *(*model, "--write", str(cage.state_directory), *required),
        *("--hold", str(cage.listener), "--report", str(cage.control), "--", *command),
    ]


def _places(model: str) -> tuple[str, ...]:
    """Where a file of weights lies: its folder, and the one that it is a link into. A package's is installed code."""
    if model.startswith("package:"):
        return ()
    path = Path(model).absolute()
    return tuple(dict.fromkeys((str(path.parent), str(path.resolve().parent))))
