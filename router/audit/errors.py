"""What the ledger refuses. Each sentence is for the operator: what happened, where, what to do."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger cannot be opened, or not be trusted to go on."""


class LedgerUnavailable(Exception):
    """A record was not, or will not be, made durable: nothing may be sent on the strength of it."""


class LedgerFieldError(TypeError):
    """A body names a field outside the closed list, or gives it a wrong type: a mistake in our own code."""
