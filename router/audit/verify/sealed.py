"""Checks that the sealed files which records name are there: what is gone without an erasure record was taken away."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from router.audit.format import content
from router.audit.format.segments import SegmentError, read_small
from router.audit.verify.batch import Batch
from router.audit.verify.findings import Finding, Weight
from router.audit.verify.lines import Fields
from router.audit.verify.stream import Add

DAY_US: Final = 86_400_000_000
_MAY_NAME: Final = frozenset({"admin", "erasure"})  # kinds that tell of digest keys and erased days
_DAY: Final = 10  # characters of a day: 2026-11-21
MOST_KEYS: Final = 100_000  # digest keys remembered: one a day and process


@lru_cache(maxsize=64)
def day_of(days: int) -> str:
    """The day that begins so many days after 1970 began; "" beyond the calendar."""
    try:
        return (date(1970, 1, 1) + timedelta(days=days)).isoformat()
    except OverflowError:
        return ""


class SealedPart(NamedTuple):
    """What the records of one segment name."""

    keys: dict[str, tuple[int, str]]
    lost: Counter[tuple[str, str]]
    erased: set[str]


class SealedCheck:
    """One pass over the records. Names and digests of files only: opening them is the reviewer's own affair."""

    def __init__(self, directory: Path, add: Add) -> None:
        self._directory = directory
        self._add = add
        self._keys: dict[str, tuple[int, str]] = {}  # a digest key's file: the record that names it, its SHA-256
        self._lost: Counter[tuple[str, str]] = Counter()  # captures that are not there, by day and the one before
        self._erased: set[str] = set()

    def see(self, batch: Batch) -> None:
        times, _, kinds, bodies, *_, sealed = batch.columns
        if sealed or not _MAY_NAME.isdisjoint(kinds):
            for number, (t, kind, body) in enumerate(zip(times, kinds, bodies, strict=True), batch.first):
                self._one(number, t, kind, body)

    def _one(self, number: int, t_us: int, kind: str, body: Fields) -> None:
        if "capture" in body:
            self._capture(body, t_us)
        elif kind == "admin" and body.get("action") == "digest_key":
            self._key(number, body)
        elif kind == "erasure" and body.get("subject") == "content":
            self._erased.add(str(body.get("day")))

    def _key(self, number: int, body: Fields) -> None:
        name, digest = str(body.get("target")), str(body.get("digest"))
        if "/" not in name and len(self._keys) < MOST_KEYS:
            self._keys[name] = number, digest

    def _capture(self, body: Fields, t_us: int) -> None:
        """It lies under the day on which its exchange began: that of its record, or the one before."""
        name = f"{body['capture']!s:.128}{content.SUFFIX}"
        days = day_of(t_us // DAY_US), day_of(t_us // DAY_US - 1)
        places = [self._directory / content.CAPTURES / day / name for day in days]
        if "/" in name or not any(path.is_file() for path in places):
            self._lost[days] += 1

    def part(self) -> SealedPart:
        return SealedPart(self._keys, self._lost, self._erased)

    def join(self, part: SealedPart) -> bool:
        """What a segment names; False: more than we remember."""
        self._keys.update(part.keys)
        self._lost.update(part.lost)
        self._erased |= part.erased
        return len(self._keys) < MOST_KEYS

    def finish(self) -> None:
        for name, (number, digest) in self._keys.items():
            if name[:_DAY] not in self._erased:
                self._check_key(name, number, digest)
        for (day, before), count in sorted(self._lost.items()):
            if self._erased.isdisjoint({day, before}):
                told = f"{count} sealed texts that records of {day} name are missing, and no erasure record tells of it"
                self._add(Finding(Weight.INCOMPLETE, "sealed", told))

    def _check_key(self, name: str, number: int, digest: str) -> None:
        told = f"the digest key in digests/{name} is missing, and no erasure record tells of it"
        weight = Weight.INCOMPLETE
        try:
            if content.sealed_name(read_small(self._directory / content.DIGESTS / name)) == digest:
                return
            weight, told = Weight.TAMPERED, f"digests/{name} is not the file that its record names: it was altered"
        except FileNotFoundError:
            pass
        except (OSError, SegmentError) as error:
            told = f"digests/{name} cannot be read: {error}"
        self._add(Finding(weight, "sealed", told, number))
