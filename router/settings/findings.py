"""What is wrong with the settings, where, and what to write instead: all of it, not just the first."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

Path = tuple[str | int, ...]  # where a value stands: ("tiers", 0, "timeouts", "connect")


class Origin(Struct, frozen=True):
    """Where a value was written. Line and column count from 1; both are 0 where there are none."""

    file: str  # a file's path, "environment", "command line" or "default"
    line: int = 0
    column: int = 0
    variable: str = ""  # in the environment or on the command line: the name to look for


class Finding(Struct, frozen=True):
    """One mistake, for the reader who must mend it."""

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}:{key} {self.message}{hint}"


class SettingsError(Exception):
    """The settings are not taken. `findings` says why, in order; `unreadable`: there was nothing to judge."""

    def __init__(self, findings: tuple[Finding, ...], *, unreadable: bool = False) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings
        self.unreadable = unreadable


class Report(Struct):
    """Collects findings, each placed where the nearest enclosing value was written."""

    file: str
    origins: Mapping[Path, Origin]
    findings: list[Finding] = field(default_factory=list)

    def origin(self, path: Path) -> Origin:
        """Where this value, or the nearest one around it, was written."""
        for length in range(len(path), -1, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return found
        return Origin(self.file)

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Report a mistake in the value at this path."""
        origin = self.origin(path)
        key = origin.variable or dotted(path)
        self.findings.append(Finding(origin.file, origin.line, origin.column, key, message, hint))

    def in_order(self) -> tuple[Finding, ...]:
        """All findings, file by file, from the top."""
        found = sorted(self.findings, key=lambda one: (one.file, one.line, one.column))
        return tuple(dict.fromkeys(found))  # what is wrong in two uses of one value is one mistake


def dotted(path: Path) -> str:
    """The path as people write it: tiers[0].timeouts.connect."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
