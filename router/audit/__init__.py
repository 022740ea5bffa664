"""The ledger: what was decided, what was sent, what came of it; signed, chained, without content.

Stands alone: the standard library, msgspec and cryptography, no other part of the router.
Its bytes are described in docs/ledger-format.md.
"""

from router.audit.capture import Capture
from router.audit.errors import LedgerError, LedgerFieldError, LedgerUnavailable
from router.audit.exchanges import Prepared
from router.audit.fields import MOST_NAMES
from router.audit.inbox import Alarm
from router.audit.kinds import Durability, Kind
from router.audit.ledger import Ledger, Ticket
from router.audit.settings import LedgerSettings

__all__ = [
    "MOST_NAMES",
    "Alarm",
    "Capture",
    "Durability",
    "Kind",
    "Ledger",
    "LedgerError",
    "LedgerFieldError",
    "LedgerSettings",
    "LedgerUnavailable",
    "Prepared",
    "Ticket",
]
