"""The reviewer's questions about content: did this text pass, what was said. Both need the secret key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from router.audit.format import content
from router.audit.format.seal import ReviewerSecret, SealError
from router.audit.show import moment_text
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.stream import Fields, Record

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


@dataclass(slots=True)
class Matcher:
    """Give it every verified record; it collects where one of `texts` passed."""

    keys: dict[str, list[bytes]]  # digest keys by day
    texts: tuple[bytes, ...]
    hits: list[Hit] = field(default_factory=list)
    seen: int = 0  # records that hold a digest at all
    _wanted: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _open: dict[int, Fields] = field(default_factory=dict)

    def see(self, record: Record) -> None:
        kind, body = record.row.kind, record.row.body
        if kind == "decision":
            self._open[record.number] = body
            self._compare(record, body, "prompt", [body["prompt_mac"]] if "prompt_mac" in body else [])
            self._compare(record, body, "message", body.get("message_macs", []))
        elif kind == "outcome":
            asked = self._open.pop(body["decision"], {})
            self._compare(record, asked, "answer", [body["answer_mac"]] if "answer_mac" in body else [])

    def _compare(self, record: Record, asked: Fields, part: str, macs: list[str]) -> None:
        if not macs:
            return
        self.seen += 1
        moment = moment_text(record.row.t)
        if self._macs(str(asked.get("caller")), moment[:_DAY]).isdisjoint(macs):
            return
        caller, request_id, upstream = (str(asked.get(name)) for name in ("caller", "request_id", "upstream"))
        self.hits.append(Hit(record.number, moment, caller, request_id, upstream, part))

    def _macs(self, caller: str, day: str) -> frozenset[str]:
        """What the texts would look like in this caller's records of this day."""
        found = self._wanted.get((caller, day))
        if found is None:
            keys = [content.caller_key(key, caller) for key in self.keys.get(day, [])]
            found = frozenset(content.content_mac(key, text) for key in keys for text in self.texts)
            self._wanted[caller, day] = found
        return found


def digest_keys(directory: Path, log: str, reviewer: ReviewerSecret) -> dict[str, list[bytes]]:
    """Every digest key that was not erased, by day; also under the next day, for requests around midnight."""
    found: dict[str, list[bytes]] = {}
    folder = directory / content.DIGESTS
    for path in sorted(folder.glob(f"*{content.SUFFIX}")) if folder.is_dir() else []:
        day = path.name[:_DAY]
        try:
            key = reviewer.open(path.read_bytes(), content.digest_key_info(log, day))
        except SealError as error:
            raise CannotVerifyError(f"{path}: {error}") from None
        for moment in (day, (date.fromisoformat(day) + timedelta(days=1)).isoformat()):
            found.setdefault(moment, []).append(key)
    return found


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
        kind, body = record.row.kind, record.row.body
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
            sealed = paths[0].read_bytes()
            if content.sealed_name(sealed) != name:
                raise CannotVerifyError(f"{paths[0]} is not the file that record {number} names: it was altered")
            try:
                yield number, part, reviewer.open(sealed, content.capture_info(log, request_id, part))
            except SealError as error:
                raise CannotVerifyError(f"{paths[0]}: {error}") from None
