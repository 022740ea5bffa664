"""Prefixes kept over a restart: sealed on disk, taken back by the same engine and caller, ignored in any doubt."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.launch import Adapter, EngineSpec, Keep, command
from local_engine.options import BadOptions, parse
from local_engine.prefix_file import MAGIC, BadKey, Prefix, Unusable, read, read_key, write
from local_engine.scheduling.scheduler import Scheduler
from local_engine.scheduling.step import Limits, Sequence, State
from local_engine.worker.keeping import WORTH_SAVING, Keeper
from tests.local_engine.conftest import Child, listen, spawn, wait_until_ready
from tests.local_engine.made import tiny_adapter, tiny_model

KEY, IDENTITY = b"k" * 32, b"i" * 32
PREFIXES = [Prefix("a", (1, 2, -3), b"state one"), Prefix("", (7,), b""), Prefix("ü", (), b"x" * 500)]
MOST = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.prefixes"
    assert write(path, KEY, IDENTITY, iter(PREFIXES)) == 3
    return path


def test_what_was_sealed_comes_back_and_nothing_of_it_is_readable(path: Path) -> None:
    assert list(read(path, KEY, IDENTITY, MOST)) == PREFIXES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"state one" not in path.read_bytes()
    assert write(path, KEY, IDENTITY, iter(PREFIXES[:1])) == 1
    assert list(read(path, KEY, IDENTITY, MOST)) == PREFIXES[:1]


def test_another_key_or_model_gets_nothing(path: Path) -> None:
    with pytest.raises(Unusable, match="damaged, or was sealed with another key"):
        list(read(path, b"K" * 32, IDENTITY, MOST))
    with pytest.raises(Unusable, match="another model, template or version"):
        list(read(path, KEY, b"I" * 32, MOST))
    with pytest.raises(Unusable, match="is damaged"):
        list(read(path, KEY, IDENTITY, 40))


def test_damage_at_any_byte_is_noticed(path: Path) -> None:
    """Cut at any byte, or any byte changed: what is given is a beginning of what was sealed, and no more."""
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        for altered in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            path.write_bytes(altered)
            given = []
            try:
                for prefix in read(path, KEY, IDENTITY, MOST):
                    given.append(prefix)
            except Unusable:
                pass
            assert given == PREFIXES[: len(given)]
            assert len(given) < 3


def test_records_cannot_change_places(path: Path) -> None:
    whole, head = path.read_bytes(), len(MAGIC) + 32
    first = 4 + 12 + int.from_bytes(whole[head : head + 4], "little")
    second = 4 + 12 + int.from_bytes(whole[head + first : head + first + 4], "little")
    swapped = whole[:head] + whole[head + first : head + first + second] + whole[head : head + first]
    path.write_bytes(swapped)
    with pytest.raises(Unusable, match="damaged"):
        list(read(path, KEY, IDENTITY, MOST))


def test_a_key_is_of_one_engine_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0f" * 32 + "\n")
    file.chmod(0o600)
    assert read_key(file, "small") == read_key(file, "small") != read_key(file, "coder")
    assert len(read_key(file, "small")) == 32
    file.chmod(0o640)
    with pytest.raises(BadKey, match="chmod 600 it"):
        read_key(file, "small")
    file.chmod(0o600)
    for text in ("", "0f" * 31, "xy" * 32, "\xff" * 64):
        file.write_text(text)
        with pytest.raises(BadKey, match="openssl rand -hex 32"):
            read_key(file, "small")


class Toy:
    """States are the slot's number, a hundred times."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.restored: list[tuple[int, State]] = []
        self.copies: dict[int, State] = {}

    def save(self, slot: int, most: int) -> bytes:
        return bytes([slot]) * 100 if most >= 100 else b""

    def restore(self, slot: int, state: State) -> bool:
        self.restored.append((slot, state))
        return self.takes


def used(*lengths: int) -> Scheduler:
    """A scheduler with so many finished sequences, one after the other."""
    scheduler = Scheduler(Limits(slots=4, cells=2000, batch=512))
    for key, length in enumerate(lengths):
        scheduler.submit(Sequence(key, f"scope {key}", [key + 1] * length))
        step = scheduler.plan()
        [sequence] = scheduler.commit(step)
        scheduler.release(sequence)
    return scheduler


def test_the_last_used_are_saved_first_and_come_back_in_their_order(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "f", KEY, IDENTITY, 1300)
    keeper.save(used(100, 150, WORTH_SAVING - 1, 200), Toy())
    saved = list(read(keeper.path, KEY, IDENTITY, keeper.most))
    assert [(prefix.scope, len(prefix.tokens)) for prefix in saved] == [("scope 3", 200)], "no more than fit"
    keeper = replace(keeper, most=MOST)
    keeper.save(used(100, 150, WORTH_SAVING - 1, 200), Toy())
    scheduler, toy = Scheduler(Limits(slots=4, cells=360)), Toy()
    keeper.restore(scheduler, toy)
    slots = [slot for slot in scheduler.cells.slots if slot.tokens]
    assert [(slot.scope, slot.tokens) for slot in slots] == [("scope 3", [4] * 200), ("scope 1", [2] * 150)]
    assert [index for index, _ in toy.restored] == [0, 1]
    assert [slot.index for slot in scheduler.cells.idle() if slot.tokens] == [1, 0], "the last used is given up last"


def test_what_left_the_cache_is_saved_too(tmp_path: Path) -> None:
    scheduler, toy = Scheduler(Limits(slots=2, cells=500, batch=500, swap=300)), Toy()
    for key, length in enumerate((100, 150)):
        scheduler.submit(Sequence(key, "", [key + 1] * length))
        [sequence] = scheduler.commit(scheduler.plan())
        scheduler.release(sequence)
    scheduler.tidy()
    [copy] = scheduler.swapped
    toy.copies[copy.number] = bytearray(b"x" * 100)
    keeper = Keeper(tmp_path / "f", KEY, IDENTITY, MOST)
    keeper.save(scheduler, toy)
    saved = list(read(keeper.path, KEY, IDENTITY, keeper.most))
    assert [len(prefix.tokens) for prefix in saved] == [150, 100]
    assert saved[1].state == b"x" * 100
    replace(keeper, most=1000).save(scheduler, toy)
    assert len(list(read(keeper.path, KEY, IDENTITY, keeper.most))) == 1, "no more than fit"


def test_what_llama_refuses_is_not_booked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(tmp_path / "f", KEY, IDENTITY, MOST)
    keeper.save(used(100), Toy())
    scheduler = Scheduler(Limits(slots=2, cells=500))
    with caplog.at_level(logging.WARNING, "local_engine"):
        keeper.restore(scheduler, Toy(takes=False))
    assert scheduler.cells.free == 500
    assert "saved prefixes are ignored: f: llama.cpp does not take it" in caplog.text


def test_no_file_is_no_news_and_a_full_disk_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "local_engine"):
        Keeper(tmp_path / "f", KEY, IDENTITY, MOST).restore(used(), Toy())
        assert not caplog.text
        Keeper(tmp_path / "nowhere" / "f", KEY, IDENTITY, MOST).save(used(100), Toy())
    assert "prefixes are not saved" in caplog.text


def test_the_command_line_says_where_the_key_is() -> None:
    spec = replace(EngineSpec(), keep=Keep("/k", 5 << 20))
    assert parse(command(spec, 3, Path("/state"))[4:]).spec.keep == spec.keep
    with pytest.raises(BadOptions, match="needs --state-dir"):
        parse(["--fd", "3", "--keep-prefixes", "/k"])
    with pytest.raises(BadOptions, match="--keep-bytes must be from"):
        parse(["--fd", "3", "--state-dir", "/s", "--keep-prefixes", "/k", "--keep-bytes", "1"])


@contextmanager
def serving(folder: Path, spec: EngineSpec) -> Iterator[httpx.Client]:
    """Until its orderly end."""
    folder.joinpath("engine.sock").unlink(missing_ok=True)
    listener, path = listen(folder)
    child = Child(listener, path, spawn(listener, spec, folder))
    try:
        with child.client() as client:
            wait_until_ready(client)
            yield client
    finally:
        child.process.terminate()
        assert child.process.wait(60) == 0
        child.end()


def ask(client: httpx.Client, scope: str) -> Any:
    body = {"prompt": "One two three four. " * 40, "temperature": 0, "max_tokens": 8}
    answer = client.post("/v1/completions", json=body, headers={"X-Ringfence-Scope": scope}).json()
    return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.engine
def test_an_engine_starts_warm_for_the_same_caller_and_model(
    built: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    model = tiny_model(tmp_path / "tiny.gguf")
    spec = EngineSpec(model=str(model), context=1024, parallel=3, threads=1, keep=Keep(str(key)))
    with serving(tmp_path, spec) as client:
        cold = ask(client, "mine")
        assert cold[1] == 0
    assert "prefixes saved: 1" in capfd.readouterr().err
    with serving(tmp_path, spec) as client:
        assert ask(client, "theirs")[1] == 0
        text, cached = ask(client, "mine")
        assert (text, cached > 150) == (cold[0], True)
    file = tmp_path / "small.prefixes"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    capfd.readouterr()
    for trouble in ("another model", "damaged"):
        altered = replace(spec, lora=(Adapter(str(tiny_adapter(tmp_path / "adapter.gguf"))),))
        if trouble == "damaged":
            file.write_bytes(file.read_bytes()[:-9])
        with serving(tmp_path, altered if trouble == "another model" else spec) as client:
            assert ask(client, "new")[1] == 0
        said = [line for line in capfd.readouterr().err.splitlines() if "saved prefixes are ignored" in line]
        assert len(said) == 1
