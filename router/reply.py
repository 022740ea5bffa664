"""What the pipeline needs of whatever carries an answer to a client; each lane of the server brings its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

Headers = Sequence[tuple[bytes, bytes]]
UNSAFE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a header's value: left out


class Reply(Protocol):
    """One answer: `whole` alone, or `start` once, then `write`, then `finish` — or nothing more, and the connection is
    cut.
    """

    @property
    def started(self) -> bool: ...

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """All of an answer, whose length the headers do not tell."""

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, data: bytes) -> None:
        """Returns when the client can be sent more."""

    def pour(self, data: bytes | memoryview) -> bool:
        """As `write`, if it need not wait: else nothing is written, and it is False. `data` lasts until it returns."""

    async def finish(self) -> None: ...
