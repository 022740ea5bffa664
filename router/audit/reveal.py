"""The reviewer's questions about content: did this text pass, what was said. Both need the secret key."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from router.audit.format import content
from router.audit.format.seal import ReviewerSecret, SealError
from router.audit.format.segments import open_segment, read_small
from router.audit.show import moment_text
from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.lines import Fields
from router.audit.verify.sealed import DAY_US, day_of

_1970 = date(1970, 1, 1)
_DAY = 10  # characters of a day: 2026-11-21


@dataclass(frozen=True, slots=True)
class Hit:
    """The text passed here."""

    record: int
    moment: str
    caller: str
    request_id: str
    upstream: str
    part: str  # prompt, message, answer

    def text(self) -> str:
        told = f"{self.part} of {self.caller} to {self.upstream} ({self.request_id})"
        return f"record {self.record}  {self.moment}  {told}"


@dataclass(frozen=True, slots=True)
class DigestKeys:
    """Those that were not erased: the names of their files, and the keys by day; also under the next day, for requests
    around midnight.
    """

    names: frozenset[str]
    by_day: Mapping[str, Sequence[bytes]]


@dataclass(slots=True)
class Matcher:
    """Give it all verified records; it collects where one of `texts` passed, and counts what nobody can ask now."""

    keys: DigestKeys
    texts: tuple[bytes, ...]
    hits: list[Hit] = field(default_factory=list)
    seen: int = 0  # records that hold a digest at all
    erased: Counter[str] = field(default_factory=Counter)  # of these, by day: those whose key is gone
    _named: str | None = None  # the key file that the newest of their records names
    _wanted: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _open: dict[int, Fields] = field(default_factory=dict)

    def see(self, batch: Batch) -> None:
        columns = batch.columns
        for at, (kind, body) in enumerate(zip(columns.kinds, columns.bodies, strict=True)):
            if kind == "decision":
                self._open[batch.first + at] = body
                if (mac := body.get("prompt_mac")) is not None:
                    self._compare(batch, at, body, "prompt", [mac])
                if macs := body.get("message_macs"):
                    self._compare(batch, at, body, "message", macs)
            elif kind == "outcome":
                asked = self._open.pop(body["decision"], {})
                if (mac := body.get("answer_mac")) is not None:
                    self._compare(batch, at, asked, "answer", [mac])
            elif kind == "admin" and body["action"] == "digest_key":
                self._named = body.get("target")

    def _compare(self, batch: Batch, at: int, asked: Fields, part: str, macs: list[str]) -> None:
        self.seen += 1
        t_us, caller = batch.columns.times[at], str(asked.get("caller"))
        day = day_of(t_us // DAY_US)
        if self._macs(caller, day).isdisjoint(macs):
            if not self.keys.by_day.get(day) or (self._named is not None and self._named not in self.keys.names):
                self.erased[day] += 1
            return
        request_id, upstream = (str(asked.get(name)) for name in ("request_id", "upstream"))
        self.hits.append(Hit(batch.first + at, moment_text(t_us), caller, request_id, upstream, part))

    def _macs(self, caller: str, day: str) -> frozenset[str]:
        """What the texts would look like in this caller's records of this day."""
        found = self._wanted.get((caller, day))
        if found is None:
            keys = [content.caller_key(key, caller) for key in self.keys.by_day.get(day, [])]
            found = frozenset(content.content_mac(key, text) for key in keys for text in self.texts)
            self._wanted[caller, day] = found
        return found

    def verdict(self) -> str:
        """One sentence; of what was erased it says so."""
        told = f"{len(self.hits)} of {self.seen} records with digests match"
        if not self.erased:
            return told
        days = ", ".join(sorted(self.erased))
        return f"{told}; {self.erased.total()} cannot be asked any more: the digest keys of {days} were erased"


def digest_keys(directory: Path, log: str, reviewer: ReviewerSecret) -> DigestKeys:
    """Open every key that lies there; CannotVerifyError: one was sealed to another reviewer, or altered."""
    found: dict[str, list[bytes]] = {}
    folder = directory / content.DIGESTS
    paths = sorted(folder.glob(f"*{content.SUFFIX}")) if folder.is_dir() else []
    for path in paths:
        day = path.name[:_DAY]
        try:
            key = reviewer.open(read_small(path), content.digest_key_info(log, day))
        except SealError as error:
            raise CannotVerifyError(f"{path}: {error}") from None
        since = (date.fromisoformat(day) - _1970).days
        for moment in (day, day_of(since + 1)):
            found.setdefault(moment, []).append(key)
    return DigestKeys(frozenset(path.name for path in paths), found)


def with_variants(data: bytes) -> tuple[bytes, ...]:
    """The text as it is, and without the line ends that editors add."""
    return tuple(dict.fromkeys((data, data.rstrip(b"\r\n"))))


@dataclass(slots=True)
class Opener:
    """Collects the sealed files that records name, and what they are bound to."""

    wanted: Callable[[int, Fields], bool]
    found: list[tuple[int, str, str, str]] = field(default_factory=list)  # record, request id, part, file name
    _open: dict[int, tuple[str, bool]] = field(default_factory=dict)

    def see(self, record: Record) -> None:
        kind, body = record.kind, record.body
        if kind == "decision":
            wanted = self.wanted(record.number, body)
            self._open[record.number] = str(body["request_id"]), wanted
            self._take(record.number, str(body["request_id"]), "prompt", body, wanted=wanted)
        elif kind == "outcome":
            request_id, wanted = self._open.pop(body["decision"], ("", False))
            self._take(record.number, request_id, "answer", body, wanted=wanted or self.wanted(record.number, body))

    def _take(self, number: int, request_id: str, part: str, body: Fields, *, wanted: bool) -> None:
        if wanted and "capture" in body:
            self.found.append((number, request_id, part, str(body["capture"])))

    def contents(self, directory: Path, log: str, reviewer: ReviewerSecret) -> Iterator[tuple[int, str, bytes | None]]:
        """Record, part and text of each; None where it was erased. CannotVerifyError: a file is not what was named."""
        for number, request_id, part, name in self.found:
            paths = list((directory / content.CAPTURES).glob(f"*/{name}{content.SUFFIX}"))
            if not paths:
                yield number, part, None
                continue
            with os.fdopen(open_segment(paths[0]), "rb") as file:
                sealed = file.read()
            if content.sealed_name(sealed) != name:
                raise CannotVerifyError(f"{paths[0]} is not the file that record {number} names: it was altered")
            try:
                yield number, part, _unseal(sealed, content.capture_info(log, request_id, part), reviewer)
            except ValueError as error:  # SealError is one
                raise CannotVerifyError(f"{paths[0]}: {error}") from None


def _unseal(data: bytes, info: bytes, reviewer: ReviewerSecret) -> bytes:
    """The whole text: its last piece is the one that was sealed as the last."""
    pieces = content.pieces_of(data)
    opened = [
        reviewer.open(piece, content.piece_info(info, number, last=number == len(pieces) - 1))
        for number, piece in enumerate(pieces)
    ]
    return b"".join(opened)
