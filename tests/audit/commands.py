"""`ringfence audit` through the command line's own parser."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from router.cli.audit import audit_app


def run(*words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(word) for word in words])
