"""What a managed program's launcher tells before it becomes the program: how it is sealed, or why it does not start."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Final

from router.seal.attestation import Attestation

READ: Final = 65536


class LauncherReport:
    """One reading end of a pipe; closed when the launcher has closed its own, or when it is told to."""

    def __init__(self, descriptor: int, sealed: Callable[[Attestation], None], refused: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._sealed = sealed
        self._refused = refused
        self._heard = b""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._readable)

    def close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        data = os.read(self._descriptor, READ)
        self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        if not data:
            self.close()

    def _take(self, message: dict[str, str]) -> None:
        if message["word"] == "sealed":
            self._sealed(Attestation.from_json(message["text"]))
        else:
            self._refused(message["text"])
