"""What the command line says of settings."""

from __future__ import annotations

from msgspec import Struct

from router.settings.findings import Origin, Path
from router.settings.layers import Layer


class Flags(Struct, frozen=True):
    """None: nothing."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None

    def layer(self) -> Layer:
        given = {"host": self.host, "port": self.port, "workers": self.workers}
        listen = {key: value for key, value in given.items() if value is not None}
        origins: dict[Path, Origin] = {("listen", key): Origin("command line", variable=f"--{key}") for key in listen}
        return Layer({"listen": listen} if listen else {}, origins)
