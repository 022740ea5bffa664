"""What llama.cpp's own helper makes of a prompt with pictures: greedy, one token at a time.

Usage: python -m tests.local_engine.mtmd_reference LIBRARY_FOLDER MODEL MMPROJ COUNT PICTURE… <PROMPT. The prompt holds
`<__media__>` for each picture. Prints the tokens' bytes as a JSON list of lists.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    folder, model_path, projector, count, *pictures = sys.argv[1:]
    os.environ["LLAMA_CPP_LIB_PATH"] = os.environ["MTMD_CPP_LIB"] = folder  # noqa: TID251 - as the engine does
    from llama_cpp import llama_cpp, mtmd_cpp  # noqa: PLC0415 - after the folder is told

    from local_engine.native.context import Context, ContextShape  # noqa: PLC0415 - loads the library that was chosen above
    from local_engine.native.model import Model  # noqa: PLC0415 - loads the library that was chosen above

    mtmd: Any = mtmd_cpp
    model = Model(Path(model_path))
    context = Context(model, ContextShape(1024, 1, 256, 1))
    parameters = mtmd.mtmd_context_params_default()
    parameters.use_gpu, parameters.n_threads, parameters.warmup = False, 1, False
    eyes = mtmd.mtmd_init_from_file(projector.encode(), model.pointer, parameters)
    bitmaps = (ctypes.c_void_p * len(pictures))(*(_bitmap(mtmd, eyes, Path(one)) for one in pictures))
    prompt = sys.stdin.buffer.read()
    text = mtmd.mtmd_input_text(prompt, len(prompt), True, True)
    chunks = mtmd.mtmd_input_chunks_init()
    assert not mtmd.mtmd_tokenize(eyes, chunks, ctypes.byref(text), bitmaps, len(pictures))
    past = llama_cpp.llama_pos(0)
    assert not mtmd.mtmd_helper_eval_chunks(eyes, context.pointer, chunks, 0, 0, 256, True, ctypes.byref(past))
    said = []
    row = -1
    for position in range(past.value, past.value + int(count)):
        token = int(context.logits(row).argmax())
        if model.ends(token):
            break
        said.append(list(model.piece(token)))
        context.batch.clear()
        row = context.batch.add(0, position, [token], output=True)
        context.decode()
    print(json.dumps(said))


def _bitmap(mtmd: Any, eyes: Any, path: Path) -> Any:
    data = path.read_bytes()
    return mtmd.mtmd_helper_bitmap_init_from_buf(
        eyes, (ctypes.c_uint8 * len(data)).from_buffer_copy(data), len(data), False
    )


if __name__ == "__main__":
    main()
