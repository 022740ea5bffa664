"""The throw-away child that measures one build.

Usage: python -m local_engine.measuring LIBRARY_FOLDER MODEL THREADS ROUNDS PARENT_PID. Prints tokens per second as
JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from local_engine.library import Choice, select
from local_engine.lifeline import die_with
from local_engine.measure import Speed

PROMPT, ANSWER = 512, 64


def run(model: Path, threads: int, rounds: int) -> Speed:
    from local_engine.native.context import Context, ContextShape  # noqa: PLC0415 - after the library is chosen
    from local_engine.native.diagnostics import forward_logs  # noqa: PLC0415 - likewise
    from local_engine.native.model import Model  # noqa: PLC0415 - likewise

    forward_logs()
    loaded = Model(model)
    context = Context(loaded, ContextShape(cells=PROMPT + ANSWER, sequences=1, batch=PROMPT, threads=threads))
    best, wall, used = Speed(), time.monotonic(), time.process_time()
    for _ in range(rounds):
        context.clear()
        context.batch.clear()
        context.batch.add(0, 0, [max(loaded.bos(), 0), *range(100, 99 + PROMPT)], output=True)
        began = time.monotonic()
        context.decode()
        read = time.monotonic()
        for step in range(ANSWER):
            context.batch.clear()
            context.batch.add(0, PROMPT + step, [100 + step], output=True)
            context.decode()
        prompt, answer = PROMPT / (read - began), ANSWER / (time.monotonic() - read)
        best = Speed(max(best.prompt, prompt), max(best.answer, answer))
    share = (time.process_time() - used) / ((time.monotonic() - wall) * threads)
    return replace(best, share=min(1.0, share))


if __name__ == "__main__":
    die_with(int(sys.argv[5]))
    select(Choice("measured", Path(sys.argv[1])))
    sys.stdout.write(json.dumps(asdict(run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))))
