"""The `ringfence` command."""

from __future__ import annotations

import sys
from pathlib import Path

from router.cli.border import border
from router.memory import importing


def main() -> None:
    """The console script. A plain `serve` goes straight on; all else is read by the library of commands."""
    with border():  # Ctrl-C may come while the rest is being imported
        with importing():
            from router.cli.straight import straight  # noqa: PLC0415 - as said above

            plain = straight(sys.argv[1:])
        if plain is None:
            from router.cli.app import app  # noqa: PLC0415 - as said above

            app()
            return
        with importing():
            from router.cli.serving import run  # noqa: PLC0415 - as said above
        config, flags = plain
        sys.exit(run(Path(config) if config is not None else None, flags))


__all__ = ["main"]
