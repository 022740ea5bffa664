"""How an engine is put in its cage: started through `router.seal`, of which it knows nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cage:
    """What the engine is left with. `model`: a path or `package:NAME`; `control` hears of the seal, then is closed."""

    model: str
    state_directory: Path
    listener: int
    control: int
    required: Sequence[str]


def caged(command: Sequence[str], cage: Cage) -> list[str]:
    """The command that seals itself and then becomes `command`."""
    model = [] if cage.model.startswith("package:") else ["--read", str(Path(cage.model).resolve().parent)]
    required = [part for name in cage.required for part in ("--require", name)]
    return [
        *(sys.executable, "-I", "-m", "router.seal", "--profile", "engine"),
        *(*model, "--write", str(cage.state_directory), *required),
        *("--hold", str(cage.listener), "--report", str(cage.control), "--", *command),
    ]
