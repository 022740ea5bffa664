"""The short forms of `make soak` and of a thousand streams while upstreams die and drag."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conversations import wait_until_ready
from tests.fakes.clients import Answer, Client
from tests.fakes.running import fake_upstream
from tests.fakes.soak import POLICY, soak
from tests.service import running

FOUR = """version: 1
listen: {{workers: 1}}
upstreams:
{upstreams}
tiers:
  - {{name: all, upstreams: [up-1, up-2, up-3, up-4], balance: least_busy, concurrency: 1200, queue: 100,
     timeouts: {{connect: 10s, first_token: 60s, between_tokens: 60s, total: 90s}}}}
default_model: coder
"""
STREAMS = 1000


@pytest.mark.slow
async def test_memory_is_flat_over_a_few_thousand_requests(tmp_path: Path) -> None:
    with fake_upstream("--tokens", "2") as one, fake_upstream("--tokens", "2") as two:
        with running(tmp_path, POLICY.format(one=one.url, two=two.url)) as service:
            run = await soak(service, (one, two), 4000)
            assert run.grown() == {}
            assert run.answers["whole"] > 0.7 * run.answers.total(), run.answers
            assert run.answers.keys() <= {"whole", "left", "invalid_request", "upstream_failed"}
            assert service.settled()
            assert {row["restarts"] for row in service.rows().values()} == {0}


@pytest.mark.slow
async def test_a_thousand_streams_while_one_upstream_dies_and_one_is_slow(tmp_path: Path) -> None:
    with ExitStack() as stack:
        fakes = [stack.enter_context(fake_upstream("--tokens", "6", "--delay", "0.3")) for _ in range(4)]
        rows = "\n".join(f'  up-{number}: {{url: "{fake.url}"}}' for number, fake in enumerate(fakes, 1))
        service = stack.enter_context(running(tmp_path, FOUR.format(upstreams=rows)))
        wait_until_ready(service)
        fakes[1].become(delay_s=1.0)
        clients = [Client(service.port) for _ in range(STREAMS)]
        asking = [asyncio.create_task(client.ask(_stream(number))) for number, client in enumerate(clients)]
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(fakes[0].asked)) < 100:
                await asyncio.sleep(0.1)
        await asyncio.to_thread(fakes[0].kill)
        answers = await asyncio.gather(*asking)
        told = Counter("whole" if answer.whole else answer.error for answer in answers)
        assert {answer.status for answer in answers} == {200}
        assert set(told) <= {"whole", "upstream_failed"}
        assert told["upstream_failed"] <= STREAMS // 2  # only what the dead one was answering
        assert told["whole"] + told["upstream_failed"] == STREAMS
        assert all(_is_right(number, answer) for number, answer in enumerate(answers) if answer.whole)
        for client in clients:
            client.close()
        assert len(service.settled(STREAMS)) >= STREAMS
        out = [
            line for line in service.log().splitlines() if '"upstream":"up-1"' in line and '"state":"failing"' in line
        ]
        assert 1 <= len(out) < 10  # hundreds of broken streams are one change of state
        assert service.rows()["gate"]["restarts"] == 0


def _stream(number: int) -> dict[str, object]:
    return {"stream": True, "messages": [{"role": "user", "content": f"stream {number}"}]}


def _is_right(number: int, answer: Answer) -> bool:
    return answer.body.count(b"data: ") == 8 and b"word5" in answer.body
