"""How often Python looks for garbage in cycles, in the processes that serve.

An exchange leaves no cycles behind: what it held is freed at once, by reference counts. So the collector, which by
default would walk over all that is alive for every 700 objects more, is only there for what is rare.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_MORE = 20_000  # alive at once before the youngest are looked at: some hundred exchanges under way


@contextmanager
def importing() -> Iterator[None]:
    """Nothing that is imported is garbage: to look for some takes a twentieth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle_memory() -> None:
    """Call it when settings were taken: modules and settings live long, and are looked at no more.

    But for the next call: what the settings before them left in cycles is freed then. Gate and workers rest the
    collector from their first line until here.
    """
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(OBJECTS_MORE, 10, 10)
