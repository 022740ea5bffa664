"""What a body costs by its size: `python bench/bodies.py [--text prose|code|letters]`. One line of JSON per step.

CPU microseconds of one call for chat requests of 1, 16 and 128 KB: the lowest of rounds, and what each KB more costs
between the last two. `code` has line ends and quotation marks to be escaped, `letters` are of several alphabets.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from policies import Endpoint, judge_body
from router.audit.format.content import CallerDigest
from router.body import read
from router.channel.link import pair
from router.gate.digests import texts_of
from router.gate.judging import judged
from router.heap import keep_heap
from router.settings.snapshot import Limits

SIZES = (1, 16, 128)  # KB
ROUNDS, ROUND_S = 7, 0.01
TEXTS = {
    "prose": "Explain to me, briefly, what the quick brown fox jumped over. ",
    "code": Path(__file__).with_name("scale.py").read_text(),
    "letters": "Съешь ещё этих мягких французских булок: Zwölf Boxkämpfer jagen Viktor. ",
}


def body(text: str, kilobytes: int) -> bytes:
    """As an SDK writes it."""
    size = kilobytes * 1024
    content = (text * (size // len(text.encode()) + 1)).encode()[:size].decode(errors="ignore")
    asked = {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 256, "temperature": 0.5}
    return json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()


def through(raw: bytes) -> None:
    """From the worker's end of a channel to the gate's: the kernel's two copies."""
    gate, worker = pair()
    with gate, worker:
        room = bytearray(len(raw))
        for _ in range(100):
            worker.sendall(raw)
            gate.recv_into(room)


def steps(raw: bytes) -> dict[str, tuple[Callable[[], object], int]]:
    """What is called, and how many times a call does it."""
    document = msgspec.json.decode(raw)
    digest = CallerDigest(bytes(32))
    return {
        "worker: read strictly": (partial(read, raw, Endpoint.CHAT, "r", None, Limits()), 1),
        "channel: both copies": (partial(through, raw), 100),
        "gate: read, judge, write anew, take the texts": (partial(judged, raw, "m"), 1),
        "gate: digests": (partial(digest.of_each, texts_of(document)), 1),
        "  of these: parse JSON": (partial(msgspec.json.decode, raw), 1),
        "  of these: write JSON": (partial(msgspec.json.encode, document), 1),
        "  of these: judge": (partial(judge_body, document), 1),
        "  of these: SHA-256": (partial(hashlib.sha256, raw), 1),
        "one copy": (partial(bytes, memoryview(raw)), 1),
    }


def cpu_us(call: Callable[[], object], each: int) -> float:
    """The lowest of rounds."""
    times, found = 1, []
    while len(found) < ROUNDS:
        began = time.process_time_ns()
        for _ in range(times):
            call()
        spent = (time.process_time_ns() - began) / 1e9
        if spent < ROUND_S:
            times *= 2
        else:
            found.append(spent / times / each * 1e6)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", choices=list(TEXTS), default="prose")
    options = parser.parse_args()
    keep_heap()
    bodies = [steps(body(TEXTS[options.text], size)) for size in SIZES]
    for step in bodies[0]:
        told = [cpu_us(*calls[step]) for calls in bodies]
        more = (told[-1] - told[-2]) / (SIZES[-1] - SIZES[-2])
        sizes = {f"us_{size}k": round(value, 2) for size, value in zip(SIZES, told, strict=True)}
        print(json.dumps({"step": step, "text": options.text, **sizes, "us_per_kb_more": round(more, 3)}))


if __name__ == "__main__":
    main()
