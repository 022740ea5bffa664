"""Between supervisor and gate: a listed witness is to be asked, and what came of it."""

from __future__ import annotations

import msgspec


class AnchorTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """`note`: the checkpoint with both signatures, of `size` records at `moment` (the witness's, seconds since 1970).

    Without it `trouble` says why; `refused`: since this log does not continue the one that the witness knows.
    """

    note: str = ""
    size: int = 0
    moment: int = 0
    trouble: str = ""
    refused: bool = False
