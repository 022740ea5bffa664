"""The writer's side of keyed digests and sealed content. What goes in here, this process cannot read back."""

from __future__ import annotations

import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Final

from router.audit import envelope
from router.audit.capture import Capture
from router.audit.format import content
from router.audit.format.ratchet import KEY_BYTES, wipe
from router.audit.home import Home, sync_directory, write_new

MOST_CALLERS: Final = 10_000
_DAY_S: Final = 86_400
_1970: Final = date(1970, 1, 1).toordinal()
KeyMade = Callable[[str, str], None]  # the sealed file's name, its SHA-256


class Vault:
    """Thread-safe. Its calls write and sync small files: from an event loop, call begin_capture() in a thread."""

    def __init__(self, home: Home, key_made: KeyMade, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._key_made = key_made
        self._clock = clock
        self._lock = threading.Lock()
        self._day = ""
        self._days = -1  # the same since 1970
        self._key = b""
        self._callers: dict[str, content.CallerDigest] = {}

    def digests(self, caller: str, texts: Iterable[bytes]) -> list[str]:
        """The keyed digests of what a caller sent or got; once a day and process this draws and seals a key."""
        with self._lock:
            if int(self._clock()) // _DAY_S != self._days:
                self._be_of_today()
            digest = self._callers.get(caller) or self._remember(caller)
            return digest.of_each(texts)

    def _be_of_today(self) -> None:
        days = int(self._clock()) // _DAY_S
        if days != self._days:
            self._turn(_date(days))
            self._days = days

    def _today(self) -> str:
        return _date(int(self._clock()) // _DAY_S)

    def _remember(self, caller: str) -> content.CallerDigest:
        if len(self._callers) >= MOST_CALLERS:
            self._callers.clear()
        key = content.caller_key(self._key, caller)
        digest = self._callers[caller] = content.CallerDigest(key)
        wipe(key)
        return digest

    def _turn(self, today: str) -> None:
        self._forget()
        key = os.urandom(KEY_BYTES)
        sealed = envelope.seal(self._home.reviewer, key, content.digest_key_info(self._home.log, today))
        name = f"{today}-{secrets.token_hex(4)}{content.SUFFIX}"
        write_new(self._folder(content.DIGESTS) / name, sealed)
        self._key_made(name, content.sealed_name(sealed))
        self._day, self._key = today, key

    def _forget(self) -> None:
        if self._key:
            wipe(self._key)
        self._callers.clear()
        self._day, self._days, self._key = "", -1, b""

    def _folder(self, *names: str) -> Path:
        path = self._home.directory
        for name in names:
            path /= name
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    def digester(self, caller: str) -> hmac.HMAC:
        """The keyed digest of a text that comes in parts: update(…), hexdigest()."""
        with self._lock:
            self._be_of_today()
            key = content.caller_key(self._key, caller)
            digester = hmac.new(key, digestmod="sha256")
            wipe(key)
            return digester

    def begin_capture(self, request_id: str, part: str) -> Capture:
        """A sealed file to write a prompt or an answer into."""
        info = content.capture_info(self._home.log, request_id, part)
        return Capture(self._folder(content.CAPTURES, self._today()), self._home.reviewer, info)

    def erasable(self, day: str) -> list[Path]:
        """The day's digest keys and sealed content. ValueError if `day` is no date such as 2026-11-21."""
        try:
            day = date.fromisoformat(day).isoformat()
        except ValueError:
            raise ValueError(f"{day!r} is no day, such as 2026-11-21") from None
        captures = self._home.directory / content.CAPTURES / day
        keys = (self._home.directory / content.DIGESTS).glob(f"{day}-*{content.SUFFIX}")
        return [*keys, *(captures.iterdir() if captures.is_dir() else ())]

    def erase(self, paths: list[Path]) -> None:
        """Destroy them, and forget a key of theirs that is in use. The records stay, and stay valid."""
        with self._lock:
            if any(path.name.startswith(f"{self._day}-") for path in paths if self._day):
                self._forget()
        for path in paths:
            path.unlink()
        for folder in {path.parent for path in paths}:
            sync_directory(folder)
            if folder.parent.name == content.CAPTURES:
                folder.rmdir()
                sync_directory(folder.parent)

    def close(self) -> None:
        with self._lock:
            self._forget()


def _date(days: int) -> str:
    """As 2026-11-21, from days since 1970."""
    return date.fromordinal(_1970 + days).isoformat()
