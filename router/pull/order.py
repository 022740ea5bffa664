"""What the command line tells the pulling process, on its standard input, and what it hears back, line by line."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from router.settings.snapshot import AuditSettings, Weights


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file: `repo`, `file`, `revision`, and the SHA-256 that is asked for, if any."""

    repo: str
    file: str
    revision: str = "main"
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class PullOrder:
    """`audit`: where pulls are recorded, a ledger of their own beside the service's; `policy`: the settings' digest."""

    wanted: tuple[Wanted, ...]
    weights: Weights
    audit: AuditSettings
    policy: str
    require_seal: tuple[str, ...] = ()


class News(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event"):
    """One line of the process's standard output."""


class Progressed(News, frozen=True, omit_defaults=True, tag="progress"):
    """`stage`: fetch or check; bytes."""

    model: str
    stage: str
    done: int
    total: int


class Arrived(News, frozen=True, omit_defaults=True, tag="pulled"):
    model: str
    path: str
    sha256: str
    size: int
    fetched: int  # bytes that were transferred; 0: it was here already


class Failed(News, frozen=True, omit_defaults=True, tag="failed"):
    """`model` is empty when nothing could be begun."""

    model: str
    reason: str


AnyNews = Progressed | Arrived | Failed


def pulls_beside(directory: str) -> str:
    """The ledger of pulls: a service that runs has its own ledger locked."""
    return f"{directory}-models"
