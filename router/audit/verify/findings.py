"""What a verification found, and the exit code that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

MOST_FINDINGS: Final = 1000  # kept and printed; all are counted


class Weight(StrEnum):
    """How bad a finding is."""

    TAMPERED = "tampered"  # somebody changed the log, or keys do not fit
    INCOMPLETE = "incomplete"  # something that should be there is not; a crash can explain it
    UNCHECKED = "unchecked"  # a check that could not be made with the keys and notes at hand
    NOTE = "note"


class CannotVerifyError(Exception):
    """There is nothing to verify here, or a key cannot be read: what and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, with the place where it shows: record index, file and byte offset of its line."""

    weight: Weight
    code: str
    message: str
    record: int | None = None
    file: str | None = None
    offset: int | None = None

    def text(self) -> str:
        where = f"record {self.record}: " if self.record is not None else ""
        place = f"  [{self.file} at byte {self.offset}]" if self.file is not None else ""
        return f"{self.weight.upper():<10}  {where}{self.message}{place}"


@dataclass(slots=True)
class Report:
    """Everything that one verification says."""

    directory: str
    log: str = ""
    origin: str = ""
    records: int = 0
    first: int = 0
    bytes: int = 0
    segments: int = 0
    root: str = ""
    checks: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        self.counts[finding.weight] = self.counts.get(finding.weight, 0) + 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def exit_code(self, *, strict: bool = False) -> int:
        """0 intact, 1 tampered, 2 incomplete; with `strict` also 2 where something could not be checked."""
        if self.counts.get(Weight.TAMPERED):
            return 1
        if self.counts.get(Weight.INCOMPLETE) or (strict and self.counts.get(Weight.UNCHECKED)):
            return 2
        return 0

    def verdict(self, *, strict: bool = False) -> str:
        return ("intact", "TAMPERED", "incomplete or unanchored")[self.exit_code(strict=strict)]

    def as_json(self, *, strict: bool = False) -> Mapping[str, object]:
        return {**asdict(self), "verdict": self.verdict(strict=strict), "exit_code": self.exit_code(strict=strict)}

    def text(self, *, strict: bool = False) -> str:
        lines = [
            f"{self.directory}: {self.verdict(strict=strict)}",
            f"  {self.records} records in {self.segments} segments, {self.bytes} bytes, log {self.log}",
            *(f"  {name:<14} {result}" for name, result in self.checks.items()),
            *(finding.text() for finding in self.findings),
        ]
        hidden = sum(self.counts.values()) - len(self.findings)
        return "\n".join([*lines, *([f"… and {hidden} more findings"] if hidden else [])])
