"""Models that a service would need, and that nobody has fetched yet."""

from __future__ import annotations

from pathlib import Path

from local_engine.model_file import parts_of
from router.settings.snapshot import Snapshot


def absent(snapshot: Snapshot) -> list[str]:
    """A sentence for each engine in use whose model was not pulled yet."""
    return [
        f"engine {engine.name}: {reference} is not on this machine yet. Fetch it with 'ringfence models pull' "
        "(the same --config). Nothing was started."
        for engine in snapshot.engines.values()
        for model, reference in ((engine.model, engine.reference), (engine.mmproj, engine.mmproj_reference))
        if reference and not all(part.exists() for part in parts_of(Path(model)))
    ]
