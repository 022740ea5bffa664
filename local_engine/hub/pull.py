"""One model pulled: asked for, followed to where it is stored, resumed when cut, checked to the byte, put in place."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from local_engine.gguf import BadModelFile
from local_engine.hub.accept import Progress, accept, check_whole
from local_engine.hub.part import Part
from local_engine.hub.pins import Pin, pin_of, write_pin
from local_engine.hub.reference import Reference
from local_engine.hub.sources import NotListed, Sources, Target
from local_engine.hub.transport import Answer, Cut, PullFailed, Stale, Transport

MOST_REDIRECTS: Final = 5
TRIES: Final = 6
"""In a row without one new byte."""
PAUSES_S: Final = (0.2, 1.0, 2.0, 5.0, 10.0)
RESERVE: Final = 64 << 20
"""Bytes that stay free on the disk: the ledger and everybody else need some."""
LARGEST: Final = 1 << 41
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})")
_ADVICE: Final = {
    401: "it wants a token: give the source a key_file with one of yours",
    403: "it does not let you: accept the model's licence on its page, or give the source a key_file",
    404: "there is no such repository, file or revision",
}


@dataclass(frozen=True, slots=True)
class Order:
    """Pull `reference` into `directory`; `sha256` (hex), if given, is what it must be."""

    reference: Reference
    directory: Path
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Pulled:
    path: Path
    pin: Pin
    fetched: int  # bytes that were transferred this time


@dataclass(frozen=True, slots=True)
class Offer:
    """What the servers say of the file before it comes. `sha256` and `commit` are empty where they do not say."""

    size: int
    sha256: str
    commit: str
    start: int  # the first byte that this answer carries
    version: str = ""  # changes when the file does; empty: the servers do not say


class Puller:
    """Pulls models by one transport. `progress(stage, done, total)` in bytes; `sleep` waits between tries."""

    def __init__(
        self, sources: Sources, transport: Transport, progress: Progress, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sources = sources
        self._transport = transport
        self._progress = progress
        self._sleep = sleep

    def pull(self, order: Order) -> Pulled:
        """The file in place, as pinned. Raises PullFailed; what has come so far is kept, unless it is wrong."""
        path = order.reference.within(order.directory)
        wanted = expected_digest(order)
        if path.exists():
            pin = check_whole(path, wanted, self._progress)
            return Pulled(path, self._keep(order, pin), 0)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = Part.of(path)
        before = part.size
        offer = self._fetch(order.reference, part, wanted)
        try:
            pin = accept(part.path, path, offer.size, offer.sha256 or wanted, self._progress)
        except (PullFailed, BadModelFile) as error:
            part.drop()
            raise PullFailed(f"{order.reference.name}: {error}; what was fetched is removed") from None
        part.drop()
        came = max(0, offer.size - before)
        return Pulled(path, self._keep(order, Pin(pin.sha256, pin.size, offer.commit, _now())), came)

    def _keep(self, order: Order, pin: Pin) -> Pin:
        """The first pin stays."""
        known = pin_of(order.directory, order.reference)
        if known is None:
            write_pin(order.directory, order.reference, pin)
        return known or pin

    def _fetch(self, reference: Reference, part: Part, wanted: str) -> Offer:
        """Until the part has all its bytes."""
        tries = 0
        while True:
            before, asked_from = part.size, part.resume_at()
            try:
                with self._ask(reference, asked_from) as (answer, hints):
                    offer = _offer(answer, hints, asked_from)
                    self._check_offer(reference, offer, part, wanted)
                    self._write(answer, offer, part)
                if part.size == offer.size:
                    return offer
                trouble = f"it ended after {part.size} of {offer.size} bytes"
            except Cut as error:
                trouble = str(error)
                if isinstance(error, Stale):
                    part.drop()
            tries = 1 if part.size > before else tries + 1
            if tries >= TRIES:
                raise PullFailed(f"{reference.name}: {trouble}; tried {TRIES} times. Pull again to go on from here")
            self._sleep(PAUSES_S[min(tries, len(PAUSES_S)) - 1])

    @contextmanager
    def _ask(self, reference: Reference, start: int) -> Iterator[tuple[Answer, Mapping[str, str]]]:
        """The answer that carries the file, and the headers of the Hub, which knows the file's digest."""
        target = Target(self._sources.hub, reference.path)
        hints: dict[str, str] = {}
        for _ in range(MOST_REDIRECTS + 1):
            headers = {"Range": f"bytes={start}-"} if start else {}
            if target.source.token:
                headers["Authorization"] = f"Bearer {target.source.token}"
            with self._transport.get(target, headers) as answer:
                hints |= {name: value for name, value in answer.headers.items() if name.startswith("x-")}
                if answer.status not in _REDIRECTS:
                    _check_status(reference, target, answer.status)
                    yield answer, hints
                    return
                target = self._follow(target, answer.headers.get("location", ""))
        raise PullFailed(f"{reference.name}: sent on more than {MOST_REDIRECTS} times")

    def _follow(self, target: Target, location: str) -> Target:
        try:
            return self._sources.follow(target, location)
        except NotListed as error:
            raise PullFailed(str(error)) from None

    def _check_offer(self, reference: Reference, offer: Offer, part: Part, wanted: str) -> None:
        """What can be refused before it comes: another file, a file with no end, one that the disk cannot hold."""
        if offer.sha256 and wanted and offer.sha256 != wanted:
            part.drop()
            raise PullFailed(
                f"{reference.name}: the server offers a file with SHA-256 {offer.sha256}, and {wanted} is pinned: it "
                "is another file. Nothing was fetched"
            )
        if not 0 < offer.size <= LARGEST:
            raise PullFailed(f"{reference.name}: the server offers {offer.size} bytes, which is no model")
        if offer.start and not part.continues(offer.version):
            raise Stale("the file has changed since its first bytes came")
        free = shutil.disk_usage(part.path.parent).free
        if free < offer.size - offer.start + RESERVE:
            raise PullFailed(
                f"{reference.name}: {offer.size - offer.start} bytes are to come and {RESERVE} must stay free, but "
                f"{part.path.parent} has {free}: make room, or name another model_directory"
            )

    def _write(self, answer: Answer, offer: Offer, part: Part) -> None:
        """Append what comes; never one byte more than was offered."""
        done = offer.start
        with part.open(offer.start, offer.size, offer.version) as file:
            for chunk in answer.chunks:
                done += len(chunk)
                if done > offer.size:
                    raise Cut(f"more came than the {offer.size} bytes that were offered")
                file.write(chunk)
                self._progress("fetch", done, offer.size)


def expected_digest(order: Order) -> str:
    """What the file must be: as ordered, as pinned; empty on first use. PullFailed when these two differ."""
    pin = pin_of(order.directory, order.reference)
    if pin is not None and order.sha256 and pin.sha256 != order.sha256:
        raise PullFailed(
            f"{order.reference.name}: sha256 {order.sha256} is asked for, but it was pinned as {pin.sha256} on "
            f"{pin.pulled or 'an earlier day'}: check which is right, then `ringfence models rm --forget` the other"
        )
    return order.sha256 or (pin.sha256 if pin is not None else "")


def _check_status(reference: Reference, target: Target, status: int) -> None:
    if status in (200, 206):
        return
    if status == 416:
        raise Stale("the server has fewer bytes than are here already")
    if status == 429 or status >= 500:
        raise Cut(f"{target.source.name} answers {status}")
    raise PullFailed(f"{reference.name}: {target.source.name} answers {status}: {_ADVICE.get(status, 'unexpected')}")


def _offer(answer: Answer, hints: Mapping[str, str], asked_from: int) -> Offer:
    """Size and place of what comes. Cut when the server contradicts itself: it may not the next time."""
    start, size = 0, _number(answer.headers.get("content-length", ""))
    if answer.status == 206:
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != asked_from:
            raise Cut("the server answers with another part than was asked for")
        start, size = int(found[1]), int(found[2])
    linked = _number(hints.get("x-linked-size", ""))
    if linked and linked != size:
        raise Cut(f"the Hub says {linked} bytes, and {size} are offered")
    digest = hints.get("x-linked-etag", "").strip('"')
    commit = hints.get("x-repo-commit", "")
    version = f"{size} {hints.get('x-linked-etag') or answer.headers.get('etag', '')}"
    return Offer(
        size,
        digest if re.fullmatch(r"[0-9a-f]{64}", digest) else "",
        commit if re.fullmatch(r"[0-9a-f]{40}", commit) else "",
        start,
        "" if version.endswith(" ") else version,
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
