"""Where the stand-alone engine's weights come from: here already, or pulled while the server answers "loading"."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_engine.hub.https import HttpTransport
from local_engine.hub.pull import Order, Puller
from local_engine.hub.reference import Reference, parse
from local_engine.hub.sources import NotListed, Source, Sources, split
from local_engine.model_file import JOINT, locate, verify

HUB = "hub:"
STEP = 10
"""Per cent between two lines of the log."""

log = logging.getLogger("local_engine")


@dataclass(frozen=True, slots=True)
class Hub:
    """Where models are pulled from: origins, the Hub first; and to. `token_file` is for the Hub alone."""

    origins: tuple[str, ...] = ()
    directory: Path = Path("models")
    token_file: Path | None = None


def weights(model: str, sha256: str, hub: Hub) -> Callable[[], Path]:
    """A function that gives the file, once; what is wrong already is raised now: NoSuchModel, ValueError, OSError."""
    if not model.startswith(HUB):
        path = locate(model)
        verify(path, sha256)
        return lambda: path
    reference = parse(model.removeprefix(HUB))
    if not hub.origins:
        raise ValueError("hub: needs --model-source, the origins that may be fetched from, the Hub first")
    sources = Sources([_source(number, origin, hub.token_file) for number, origin in enumerate(hub.origins)])
    digests = [sha256] * len(reference.parts) if not sha256 else sha256.split(JOINT)
    if len(digests) != len(reference.parts):
        raise ValueError(f"{reference.name} has {len(reference.parts)} files, and {len(digests)} digests are given")

    def pull_all() -> Path:
        pulled = [
            _pull(part, digest, sources, hub.directory) for part, digest in zip(reference.parts, digests, strict=True)
        ]
        return pulled[0]

    return pull_all


def _source(number: int, origin: str, token_file: Path | None) -> Source:
    try:
        written, path = split(origin)
    except NotListed:
        raise ValueError(f"--model-source takes an origin such as https://huggingface.co:443, not {origin!r}") from None
    if path != "/":
        raise ValueError(f"--model-source {origin} has a path: write {written}")
    token = token_file.read_text(encoding="utf-8").strip() if token_file is not None and number == 0 else ""
    return Source("the Hub" if number == 0 else written, written, token)


def _pull(reference: Reference, sha256: str, sources: Sources, directory: Path) -> Path:
    """Raises PullFailed. On the engine thread: the server answers meanwhile."""
    log.info("fetching %s from %s", reference.name, sources.hub.origin)
    told: set[tuple[str, int]] = set()

    def progress(stage: str, done: int, total: int) -> None:
        percent = 100 * done // max(1, total) // STEP * STEP
        if (stage, percent) not in told:
            told.add((stage, percent))
            log.info("%s %s: %d %% of %.1f MB", stage, reference.name, percent, total / 1e6)

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pulled = Puller(sources, HttpTransport(), progress).pull(Order(reference, directory, sha256))
    log.info("here: %s, sha256 %s", reference.name, pulled.pin.sha256)
    return pulled.path
