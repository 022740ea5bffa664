"""One embedded engine: its weights, adapters, shape."""

from __future__ import annotations

from router.settings.engine_entries import EngineEntry
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.snapshot import EngineSettings
from router.settings.sources import Resolve, model_directory
from router.settings.weights import Location, compile_adapters, compile_weights, engine_shape


def compile_engine(name: str, settings: SettingsFile, resolve: Resolve, report: Report) -> EngineSettings:
    """As it is started; what cannot be is reported."""
    entry = settings.engines.get(name, EngineEntry())
    directory = model_directory(settings, resolve, report)
    weights = compile_weights(entry.model, ("engines", name, "model"), directory, resolve, report)
    context, parallel = engine_shape(entry, weights)
    lora = compile_adapters(entry.lora, ("engines", name, "lora"), resolve, report)
    keep = ("", 0)
    if entry.keep_prefixes is not None:
        path: Path = ("engines", name, "keep_prefixes", "key_file")
        keep = (str(resolve(entry.keep_prefixes.key_file, path, report)), entry.keep_prefixes.size)
    eyes = Location()
    if entry.mmproj is not None:
        eyes = compile_weights(entry.mmproj, ("engines", name, "mmproj"), directory, resolve, report)
    shape = (context, parallel, entry.threads, entry.idle_unload, lora, entry.lookup, *keep)
    return EngineSettings(
        name, weights.model, weights.sha256, weights.reference, *shape, eyes.model, eyes.sha256, eyes.reference
    )
