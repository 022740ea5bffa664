"""The `ringfence` command."""

from router.cli.app import main

__all__ = ["main"]
