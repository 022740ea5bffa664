"""The `ringfence` command."""

from __future__ import annotations

from router.cli.border import border


def main() -> None:
    """The console script."""
    with border():
        from router.cli.app import app  # noqa: PLC0415 - Ctrl-C may come while it is being imported

        app()


__all__ = ["main"]
