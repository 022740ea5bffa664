"""Reading a request body: bounded, strict, every field named in what is refused."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from starlette.requests import Request

from local_engine.api.errors import ApiError, invalid, unsupported


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The body as an object. 413 over the limit; 400 for what is not UTF-8 JSON or names a key twice."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise ApiError(413, f"The body is larger than {limit} bytes.", "request_too_large")
    try:
        found = json.loads(bytes(raw).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(None, f"The body is not valid JSON: {reason}", "invalid_json") from None
    if not isinstance(found, dict):
        raise invalid(None, "The body must be a JSON object.", "invalid_json")
    if b"\\ud" in raw.lower():
        _require_whole_characters(found)
    return found


def _require_whole_characters(found: dict[str, Any]) -> None:
    """JSON may escape half a surrogate pair, which no encoding can write."""
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise invalid(None, "The body escapes half of a surrogate pair.", "invalid_json") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class Fields:
    """The fields of one object, taken one by one; `finish` refuses what nobody took. null counts as absent."""

    def __init__(self, values: dict[str, Any], place: str = "") -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._names = set(values)
        self._place = f"{place}." if place else ""

    def take(self, name: str) -> Any:
        self._names.discard(name)
        return self._values.get(name)

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "must be a number")
        if not low <= value <= high:  # nor is an infinite one; a whole number may be too large to be a float
            raise self._wrong(name, f"must be from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "must be an integer")
        if not low <= value <= high:
            raise self._wrong(name, f"must be from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._wrong(name, "must be true or false")
        return value

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "must be a string")
        return value

    def fields(self, name: str) -> Fields | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, "must be an object")
        return Fields(value, f"{self._place}{name}")

    def labels(self, *names: str) -> None:
        """Fields that only mark a request for its sender; they have no effect anywhere."""
        for name in names:
            self.take(name)

    def refuse(self, name: str, why: str, harmless: Collection[Any] = ()) -> None:
        """A field that is known and cannot be served, unless its value asks for nothing."""
        value = self.take(name)
        if value is not None and value not in harmless:
            raise unsupported(f"{self._place}{name}", f"{self._place}{name}: {why}")

    def finish(self) -> None:
        if self._names:
            name = f"{self._place}{min(self._names)}"
            raise unsupported(name, f"{name}: this engine does not know this parameter.")

    def _wrong(self, name: str, rule: str) -> ApiError:
        return invalid(f"{self._place}{name}", f"{self._place}{name} {rule}.", "invalid_value")
