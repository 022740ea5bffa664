"""Every fault, in every kind of request, under every policy: `python -m tests.fakes.matrix` (make faults).

In each cell the client must get a whole answer, or an error of OpenAI's shape, within its deadline; the upstream's work
must be stopped; every decision must have exactly one outcome. The first upstream has the fault, the others are well.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.fakes.faults import NAMES
from tests.fakes.running import Fake, fake_upstream
from tests.service import Service, running

MODEL = "coder"
TEXT = "word0 word1 word2 word3 word4 "
TIMES = "{connect: 1s, cold_start: 1s, first_token: 600ms, answer: 900ms, between_tokens: 600ms, total: 3s}"
SLACK_S = 6.0  # for a busy machine, beyond what the policy allows
SETTLED_S = 10.0
# Upstreams of each tier, and more keys of every tier -> how long a request may take: the sum of its tiers' totals.
POLICIES = {
    "alone": (("up-1",),),
    "next tier": (("up-1",), ("up-2",)),
    "same tier": (("up-1", "up-2"),),
    "hedged": (("up-1",), ("up-2",)),
}
MORE = {"hedged": "hedge_after: 200ms", "same tier": "balance: least_busy"}
KINDS = ("stream", "whole")
LIMITS = "limits: {answer_bytes: 1000000}\n"
PHASES = (
    ("connect", ("refuse", "blackhole", "reset_connect")),
    ("head", ("reset_headers", "stall_before_head", "garbage", "two_lengths", "length_and_chunked", "folded_header",
              "giant_headers", "many_headers", "upgrade", "shouting_type", "wrong_type", "gzip", "close_delimited")),
    ("status", ("busy", "html", "loading", "status_", "redirect_", "html_404", "text_413")),
    ("first byte", ("reset_first_byte", "stall_before_first_byte", "garbage_body", "endless_event")),
    ("body", ("reset_mid_event", "stall", "trickle", "split", "crlf", "cr", "no_space", "endless_stream",
              "endless_body")),
    ("end", ("reset_before_done", "close_before_done", "stale")),
    ("request", ("slow_reader",)),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    fault: str
    kind: str
    policy: str


@dataclass(frozen=True)
class Result:
    """What came: `told` in a word or two; `bad`: what is wrong with it, "" if nothing."""

    cell: Cell
    told: str
    seconds: float
    bad: str = ""


def cells() -> list[Cell]:
    return [Cell(fault, kind, policy) for policy in POLICIES for fault in ("", *NAMES) for kind in KINDS]


def phase_of(fault: str) -> str:
    """Where in an exchange the fault strikes."""
    for phase, faults in PHASES:
        if fault in faults or any(name.endswith("_") and fault.startswith(name) for name in faults):
            return phase
    return "none"


def policy_text(name: str, fakes: Sequence[Fake]) -> str:
    upstreams = "".join(f'  up-{number}: {{url: "{fake.url}"}}\n' for number, fake in enumerate(fakes, 1))
    tiers = "".join(
        f"  - {{name: tier-{number}, upstreams: [{', '.join(members)}], timeouts: {TIMES}, {MORE.get(name, '')}}}\n"
        for number, members in enumerate(POLICIES[name], 1)
    )
    return f"version: 1\nlisten: {{workers: 1}}\nupstreams:\n{upstreams}tiers:\n{tiers}default_model: {MODEL}\n{LIMITS}"


@contextmanager
def town(policy: str, directory: Path) -> Iterator[tuple[Service, list[Fake]]]:
    """The service under this policy, and its upstreams."""
    with ExitStack() as stack:
        fakes = [stack.enter_context(fake_upstream()) for _ in range(sum(map(len, POLICIES[policy])))]
        yield stack.enter_context(running(directory, policy_text(policy, fakes))), fakes


@contextmanager
def _quietly(policy: str) -> Iterator[tuple[Service, list[Fake]]]:
    """A town whose service's log is not printed at its end."""
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(io.StringIO()):
        with town(policy, Path(directory)) as parts:
            yield parts


def run(cell: Cell, service: Service, fakes: Sequence[Fake]) -> Result:
    """Make all well, put the fault in, ask, and look at everything."""
    for fake in fakes:
        fake.reset()
    if service.get("/warm?wait=20").status_code != 200:
        return Result(cell, "not ready", 0.0, "the upstreams did not come back within 20 s")
    fakes[0].become(fault=cell.fault)
    began = time.monotonic()
    try:
        told, bad = _asked(cell, service)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AssertionError) as error:
        told, bad = "broken", f"{type(error).__name__}: {error}"[:200]
    seconds = time.monotonic() - began
    allowed = 3.0 * len(POLICIES[cell.policy]) + SLACK_S
    bad = bad or ("" if seconds < allowed else f"took {seconds:.1f} s of {allowed:g} s")
    bad = bad or _unstopped(fakes) or _unsettled(service)
    return Result(cell, told, seconds, bad)


def _asked(cell: Cell, service: Service) -> tuple[str, str]:
    document = {"model": MODEL, "stream": cell.kind == "stream", "messages": [{"role": "user", "content": "hi"}]}
    answer = service.post("/v1/chat/completions", document)
    by = answer.headers.get("x-ringfence-upstream", "")
    if answer.status_code != 200:
        return f"{answer.status_code} {_error(answer.text)}", ""
    if cell.kind == "whole":
        text = answer.json()["choices"][0]["message"]["content"]
        return f"200 {by}", "" if text == TEXT else f"another text: {text[:60]!r}"
    return _stream(answer.text, by)


def _stream(events: str, by: str) -> tuple[str, str]:
    """A stream is whole, or ends in an error event; never neither, never both."""
    assert events.endswith("\n\n"), "ends inside an event"
    data = [block.removeprefix("data: ") for block in events.split("\n\n") if block and not block.startswith(":")]
    if data[-1] != "[DONE]":
        return f"cut, {_error(data[-1])}", ""
    chunks = [json.loads(item) for item in data[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    return f"200 {by}", "" if text == TEXT else f"looks whole, and is not: {text[:60]!r}"


def _error(text: str) -> str:
    error = json.loads(text)["error"]
    assert isinstance(error["message"], str), "no message"
    assert error["message"], "an empty message"
    return str(error["code"])


def _unstopped(fakes: Sequence[Fake]) -> str:
    """Work that still goes on at an upstream though nobody waits for it."""
    until = time.monotonic() + SETTLED_S
    while True:
        at_work = [row["path"] for fake in fakes for row in fake.asked() if row["ending"] == "open"]
        if not at_work:
            return ""
        if time.monotonic() > until:
            return f"{len(at_work)} upstream still at work"
        time.sleep(0.05)


def _unsettled(service: Service) -> str:
    try:
        service.settled()
    except AssertionError as error:
        return f"ledger: {error}"[:200]
    return ""


def print_matrix(results: Sequence[Result]) -> None:
    """One row for each fault, a column for each policy and kind."""
    columns = [(policy, kind) for policy in POLICIES for kind in KINDS]
    found = {(result.cell.fault, result.cell.policy, result.cell.kind): result for result in results}
    heads = [f"{policy}, {kind}" for policy, kind in columns]
    lines = ["phase       fault                    " + "".join(f"{head:<27}" for head in heads)]
    for fault in dict.fromkeys(result.cell.fault for result in results):
        row = [found.get((fault, *column)) for column in columns]
        texts = [("BAD " if one.bad else "") + f"{one.told} {one.seconds:.1f}s" if one else "-" for one in row]
        lines.append(f"{phase_of(fault):<12}{fault or '(none)':<25}" + "".join(f"{text:<27}" for text in texts))
    print("\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fakes.matrix")
    parser.add_argument("--policy", choices=tuple(POLICIES), action="append", help="only this one (may be repeated)")
    given = parser.parse_args()
    results: list[Result] = []
    for policy in given.policy or POLICIES:
        with _quietly(policy) as (service, fakes):
            for cell in [cell for cell in cells() if cell.policy == policy]:
                results.append(run(cell, service, fakes))
                print(f"\r{len(results)} cells", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print_matrix(results)
    bad = [result for result in results if result.bad]
    for result in bad:
        print(f"BAD {result.cell}: {result.told}: {result.bad}")
    print(f"{len(results)} cells, {len(bad)} bad; slowest {max(result.seconds for result in results):.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
