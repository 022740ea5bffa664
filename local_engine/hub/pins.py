"""What each pulled file was when it came first: its SHA-256, kept beside the models and checked ever after."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from local_engine.hub.reference import Reference

FILE: Final = "pins.json"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class BadPins(Exception):
    """The file of pins cannot be read; the sentence says why. It is never overwritten then."""


@dataclass(frozen=True, slots=True)
class Pin:
    """`commit`: the Hub's word for the state of the repository then, if it said one; `pulled`: an RFC 3339 time."""

    sha256: str
    size: int
    commit: str = ""
    pulled: str = ""


def read_pins(directory: Path) -> dict[str, Pin]:
    """Model name -> pin; empty where nothing was pulled. Raises BadPins."""
    path = directory / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): _pin(entry) for name, entry in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadPins(f"{path} cannot be read ({type(error).__name__}): restore it, or remove it to pin anew") from None


def pin_of(directory: Path, reference: Reference) -> Pin | None:
    return read_pins(directory).get(reference.name)


def write_pin(directory: Path, reference: Reference, pin: Pin | None) -> None:
    """Set or, with None, forget a pin; the file is replaced as a whole, durably."""
    pins = {**read_pins(directory), reference.name: pin}
    kept = {name: asdict(entry) for name, entry in sorted(pins.items()) if entry is not None}
    fresh = directory / f"{FILE}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / FILE)


def _pin(entry: Any) -> Pin:
    pin = Pin(**entry)
    if not _DIGEST.fullmatch(pin.sha256) or not isinstance(pin.size, int):
        raise ValueError("not a pin")
    return pin
