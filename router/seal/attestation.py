"""What a sealed process found out about its own seal: values without content, for the ledger, /health and people."""

from __future__ import annotations

import hashlib
import json
import site
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from router.seal.profiles import Profile


class Part(StrEnum):
    """What may hold a process, in order: a level is reached when all before it hold too."""

    SECCOMP = "seccomp"
    LANDLOCK = "landlock"
    NETNS = "netns"


NONE: Final = "none"


class Result(StrEnum):
    BLOCKED = "blocked"  # the kernel refused
    ESCAPED = "escaped"  # the call was carried out, or failed for a reason that has nothing to do with the seal
    UNAVAILABLE = "unavailable"  # it could not be tried here


class Attempt(NamedTuple):
    """One attack on oneself. `part` should have stopped it; `error` is the kernel's answer (EPERM), or empty."""

    name: str
    part: Part
    result: Result
    error: str = ""


class PathFile(NamedTuple):
    """A .pth file: site runs its lines when Python starts, so whoever can write one owns every process."""

    name: str
    sha256: str


class Attestation(NamedTuple):
    """`installed`: the parts that were put in force. `notes`: what is not enforced, and why, in sentences."""

    profile: str
    pid: int
    machine: str
    kernel: str
    landlock: int = 0  # its version
    installed: tuple[Part, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    capabilities: int = 0  # those left, as bits
    path_files: tuple[PathFile, ...] = ()
    environment: tuple[str, ...] = ()  # names only

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are in force and that no attack got through."""
        broken = {attempt.part for attempt in self.escaped}
        return tuple(part for part in self.installed if part not in broken)

    @property
    def level(self) -> str:
        """The highest part that holds together with all before it, or `none`."""
        reached = NONE
        for part in Part:
            if part not in self.parts:
                break
            reached = part.value
        return reached

    @property
    def seal(self) -> str:
        """All parts that hold, in one word."""
        return "+".join(self.parts) or NONE

    @property
    def escaped(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.result is Result.ESCAPED)

    def missing(self, required: Sequence[str]) -> tuple[str, ...]:
        """The required parts that do not hold. The gate is the way out: it can't live in an empty network."""
        possible = [part for part in required if not (self.profile == Profile.GATE and part == Part.NETNS)]
        return tuple(part for part in possible if part not in self.parts)

    def shortfall(self, required: Sequence[str]) -> str:
        """Why this process may not serve, for the operator; empty when it may."""
        missing = self.missing(required)
        if not missing:
            return ""
        through = ", ".join(attempt.name for attempt in self.escaped)
        why = "; ".join((*self.notes, *([f"got through: {through}"] if through else [])))
        return (
            f"the {self.profile}'s seal lacks {', '.join(missing)}, which require_seal asks for ({why}). "
            "Run 'ringfence doctor' here, or ask for less."
        )

    def to_json(self) -> str:
        rows = {
            "attempts": [attempt._asdict() for attempt in self.attempts],
            "path_files": [file._asdict() for file in self.path_files],
        }
        whole = {**self._asdict(), **rows, "level": self.level, "seal": self.seal}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Attestation:
        """What `to_json` wrote; KeyError or ValueError for anything else."""
        told = json.loads(text)
        del told["level"], told["seal"]
        return cls(
            **{
                **told,
                "installed": tuple(Part(part) for part in told["installed"]),
                "attempts": tuple(
                    Attempt(row["name"], Part(row["part"]), Result(row["result"]), row["error"])
                    for row in told["attempts"]
                ),
                "notes": tuple(told["notes"]),
                "path_files": tuple(PathFile(**row) for row in told["path_files"]),
                "environment": tuple(told["environment"]),
            }
        )


def path_files() -> tuple[PathFile, ...]:
    """The .pth files of this Python, by digest."""
    found = sorted(file for place in set(site.getsitepackages()) for file in Path(place).glob("*.pth"))
    return tuple(PathFile(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in found)
