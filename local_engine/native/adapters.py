"""LoRA adapters: loaded beside the model, applied in every context that is made of it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_engine.launch import Adapter
from local_engine.native.model import Model, ModelError, lib


class Adapters:
    """Valid as long as the model, which frees them with itself. Raises ModelError when one does not fit it."""

    def __init__(self, model: Model, wanted: Sequence[Adapter]) -> None:
        applied = [adapter for adapter in wanted if adapter.scale]
        loaded = [_load(model, adapter) for adapter in applied]
        self._pointers = (lib.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
        self._scales = (ctypes.c_float * len(loaded))(*(adapter.scale for adapter in applied))

    def apply(self, context: Any) -> None:
        """To a llama_context, for all its decodes."""
        if len(self._pointers):
            lib.llama_set_adapters_lora(context, self._pointers, len(self._pointers), self._scales)


def _load(model: Model, adapter: Adapter) -> Any:
    path = Path(adapter.path)
    found = lib.llama_adapter_lora_init(model.pointer, str(path).encode())
    if not found:
        raise ModelError(f"{path.name}: llama.cpp cannot apply this adapter; was it made for this very model?")
    return found
