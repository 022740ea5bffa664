"""The throw-away child: decode enough tokens with one library to reach every kernel, or die trying.

Usage: python -m local_engine.probe LIBRARY_FOLDER MODEL PARENT_PID. Exit 0 when it works.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from local_engine.gguf import read_header
from local_engine.library import Choice, select
from local_engine.lifeline import die_with

TOKENS = 96
"""AMX kernels run from a certain batch size on; a decode of one token passes on a broken build."""


def decode(model: Path) -> None:
    """One batch of TOKENS, then one token: the two shapes that serving uses."""
    from local_engine.native.adapters import Adapters  # noqa: PLC0415 - after the library is chosen
    from local_engine.native.context import Context, ContextShape  # noqa: PLC0415 - likewise
    from local_engine.native.diagnostics import forward_logs  # noqa: PLC0415 - likewise
    from local_engine.native.model import Model  # noqa: PLC0415 - likewise
    from local_engine.native.ranker import Ranker  # noqa: PLC0415 - likewise

    forward_logs()
    header = read_header(model)
    loaded = Model(model)
    if header.ranks:
        ranker = Ranker(loaded, Adapters(loaded, ()), TOKENS, 2, causal=header.causal)
        if not math.isfinite(ranker.score(range(1, min(TOKENS, loaded.vocabulary_size)))):
            sys.exit("the score of a text is not a number")
        return
    context = Context(loaded, ContextShape(cells=256, sequences=1, batch=TOKENS, threads=2))
    context.batch.add(0, 0, [max(loaded.bos(), 0), *range(100, 99 + TOKENS)], output=True)
    context.decode()
    first = int(context.logits(TOKENS - 1).argmax())
    context.batch.clear()
    context.batch.add(0, TOKENS, [first], output=True)
    context.decode()
    if not 0 <= int(context.logits(0).argmax()) < loaded.vocabulary_size or context.logits(0).std() == 0:
        sys.exit("the scores of the next token are not numbers")


if __name__ == "__main__":
    die_with(int(sys.argv[3]))
    select(Choice("probe", Path(sys.argv[1])))
    decode(Path(sys.argv[2]))
