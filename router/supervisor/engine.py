"""What starts an embedded engine, in its cage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from local_engine.launch import Adapter, EngineSpec, Keep
from local_engine.launch import command as launched
from router.settings.snapshot import EngineSettings
from router.supervisor.cage import Cage, caged


def engine_command(
    engine: EngineSettings, sock: int, state_directory: Path, required: Sequence[str]
) -> Callable[[int], list[str]]:
    """By the descriptor that it tells its seal by. It serves on the listening socket `sock`."""
    spec = EngineSpec(
        name=engine.name,
        model=engine.model,
        sha256=engine.sha256,
        context=engine.context,
        parallel=engine.parallel,
        threads=engine.threads or None,
        idle_unload=engine.idle_unload_s,
        aliases=("*",),
        lookup=engine.lookup,
        keep=Keep(engine.keep_key, engine.keep_bytes) if engine.keep_key else None,
        lora=tuple(Adapter(one.path, one.scale, one.sha256) for one in engine.lora),
        mmproj=engine.mmproj,
        mmproj_sha256=engine.mmproj_sha256,
    )
    weights = (engine.model, *(one.path for one in engine.lora), *([engine.mmproj] * bool(engine.mmproj)))

    def command(control: int) -> list[str]:
        cage = Cage(weights, engine.keep_key, state_directory, sock, control, required)
        return caged(launched(spec, sock, state_directory), cage)

    return command
