"""What there is of models: those that engines name, and those that were pulled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from local_engine.hub.part import Part
from local_engine.hub.pins import read_pins
from local_engine.hub.reference import parse
from router.settings.model import SettingsFile
from router.settings.weights import reference_of


@dataclass(slots=True)
class Row:
    """One model. `state`: here, part of it, absent; `size` in bytes on this disk; `pinned`: it was pulled once."""

    name: str
    path: Path
    state: str
    size: int
    sha256: str = ""
    pinned: bool = False
    engines: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """For programs."""
        return {
            "name": self.name,
            "path": str(self.path),
            "state": self.state,
            "size": self.size,
            "sha256": self.sha256,
            "engines": self.engines,
        }

    def text(self) -> str:
        """For people."""
        used = f", used by {', '.join(self.engines)}" if self.engines else ""
        digest = f", sha256 {self.sha256[:16]}…" if self.sha256 else ""
        return f"{self.name}: {self.state}, {self.size / 1e6:.1f} MB{digest}{used}"


def rows(settings: SettingsFile, directory: Path) -> list[Row]:
    """By name. Raises BadPins."""
    pins = read_pins(directory)
    named = {name: _row(name, directory) for name in pins}
    for engine, entry in settings.engines.items():
        for source in (entry.model, entry.mmproj):
            reference = reference_of(source) if source is not None else None
            for part in reference.parts if reference is not None else ():
                named.setdefault(part.name, _row(part.name, directory)).engines.append(engine)
    for name, row in named.items():
        if name in pins:
            row.sha256, row.pinned = pins[name].sha256, True
    return [named[name] for name in sorted(named)]


def _row(name: str, directory: Path) -> Row:
    path = parse(name).within(directory)
    if path.exists():
        return Row(name, path, "here", path.stat().st_size)
    size = Part.of(path).size
    return Row(name, path, "part of it" if size else "absent", size)
