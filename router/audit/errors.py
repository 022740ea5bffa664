"""What the ledger refuses. Each sentence is for the operator: what happened, where, what to do."""

from __future__ import annotations

from pathlib import Path


class LedgerError(Exception):
    """The ledger cannot be opened, or not be trusted to go on."""


class LedgerUnavailable(Exception):
    """A record was not, or will not be, made durable: nothing may be sent on the strength of it."""


class LedgerFieldError(TypeError):
    """A body names a field outside the closed list, or gives it a wrong type: a mistake in our own code."""


def what_now(directory: Path) -> str:
    """What an operator does whose start was refused."""
    return (
        f"Nothing was touched. What is wrong: ringfence audit verify {directory}. If a file was lost, put it back. "
        f"Otherwise keep a copy for the reviewer (cp -a {directory} {directory}.kept), and go on in a new log, "
        f"this one set aside and the gap recorded: ringfence audit recover {directory} --accept-loss"
    )
