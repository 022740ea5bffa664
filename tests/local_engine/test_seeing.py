"""An engine with eyes, made here: what it says depends on the picture, and on nothing else that it should not."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.launch import EngineSpec
from tests.local_engine.conftest import Child, listen, serving, spawn
from tests.local_engine.made import gguf, tiny_model, tiny_projector, tiny_ranker, tiny_whole_projector
from tests.local_engine.pictures import JPEG, data_url, png, shown

LIBRARY = Path(sys.prefix) / "engine" / "native-lib"
pytestmark = [pytest.mark.engine]
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
PROMPT = f"{SYSTEM}<|im_start|>user\nLook: <__media__> and What is it?<|im_end|>\n<|im_start|>assistant\n"
TOKENS = 12


@dataclass(frozen=True)
class Seer:
    """An engine, and what it was made of. `picture_tokens`: what one picture takes."""

    client: httpx.Client
    model: Path
    projector: Path
    picture_tokens: int


@pytest.fixture(scope="module")
def able(built: None) -> None:
    if not (LIBRARY / "libmtmd.so").exists():
        pytest.skip("THE ENGINE WAS COMPILED WITHOUT EYES: run `make` first, then these tests prove something")


@pytest.fixture(scope="module", params=["one after another", "both ways"])
def seer(
    able: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, state_dir: Path
) -> Iterator[Seer]:
    folder = tmp_path_factory.mktemp("seer")
    model = tiny_model(folder / "model.gguf", heed=3)
    causal = request.param == "one after another"
    projector = (tiny_projector if causal else tiny_whole_projector)(folder / "eyes.gguf")
    with serving(folder, state_dir, spec_of(model, projector)) as client:
        yield Seer(client, model, projector, 144 if causal else 36)


def spec_of(model: Path, projector: Path) -> EngineSpec:
    return EngineSpec(model=str(model), mmproj=str(projector), context=1024, parallel=4, threads=1)


def ask(client: httpx.Client, messages: object, **more: object) -> httpx.Response:
    body = {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "logprobs": True, **more}
    return client.post("/v1/chat/completions", json=body)


def said(client: httpx.Client, *pictures: bytes, **more: object) -> list[list[int]]:
    """The bytes of each token of the answer."""
    answer = ask(client, shown(*pictures), **more)
    assert answer.status_code == 200, answer.text
    return [token["bytes"] for token in answer.json()["choices"][0]["logprobs"]["content"]]


def reference(seer: Seer, picture: bytes, folder: Path) -> list[list[int]]:
    """What libmtmd's own helper and a greedy loop make of it."""
    file = folder / "picture"
    file.write_bytes(picture)
    command = [sys.executable, "-m", "tests.local_engine.mtmd_reference", str(LIBRARY), str(seer.model)]
    done = subprocess.run(
        [*command, str(seer.projector), str(TOKENS), str(file)], input=PROMPT.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found: list[list[int]] = json.loads(done.stdout)
    return found


def test_it_says_token_for_token_what_llama_cpps_own_helper_makes_of_it(seer: Seer, tmp_path: Path) -> None:
    for picture in (png(seed=1), png(300, 40, seed=2), JPEG):
        assert said(seer.client, picture) == reference(seer, picture, tmp_path)


def test_what_it_says_depends_on_the_picture_and_on_nothing_else(seer: Seer) -> None:
    pictures = [png(seed=seed) for seed in range(4)]
    answers = [said(seer.client, picture) for picture in pictures]
    assert len({json.dumps(answer) for answer in answers}) == 4
    assert [said(seer.client, picture) for picture in pictures] == answers  # from the cache
    with ThreadPoolExecutor(6) as together:
        sides = [together.submit(said, seer.client, picture) for picture in pictures]
        texts = [together.submit(ask, seer.client, [{"role": "user", "content": "hi"}]) for _ in range(2)]
        assert [side.result() for side in sides] == answers
        assert len({text.result().json()["choices"][0]["message"]["content"] for text in texts}) == 1


def test_a_picture_seen_before_is_not_looked_at_again_and_another_one_is(seer: Seer) -> None:
    def cached(*pictures: bytes, **headers: str) -> int:
        body = {"messages": shown(*pictures), "max_tokens": 1, "temperature": 0}
        usage = seer.client.post("/v1/chat/completions", json=body, headers=headers).json()["usage"]
        found: int = usage["prompt_tokens_details"]["cached_tokens"]
        return found

    one, other = png(seed=11), png(seed=12)
    nothing = cached(one, **{"X-Ringfence-Scope": "a"})
    again = cached(one, **{"X-Ringfence-Scope": "a"})
    assert again >= nothing + seer.picture_tokens
    assert cached(other, **{"X-Ringfence-Scope": "a"}) <= again - seer.picture_tokens
    assert cached(one, **{"X-Ringfence-Scope": "b"}) == nothing == 0


def test_two_pictures_in_a_conversation(seer: Seer) -> None:
    one, other = png(seed=1), png(64, 90, seed=2)
    orders = [said(seer.client, one, other), said(seer.client, other, one), said(seer.client, one, one)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    usage = ask(seer.client, shown(one, other)).json()["usage"]
    assert usage["prompt_tokens"] > 2 * seer.picture_tokens


def test_a_stream_and_several_choices(seer: Seer) -> None:
    whole = ask(seer.client, shown(png()), n=2).json()["choices"]
    assert whole[0]["message"] == whole[1]["message"]
    answer = ask(seer.client, shown(png()), stream=True)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in events) == whole[0]["message"]["content"]


CUT = png()[: len(png()) // 2] + png()[-12:]
NO_SCAN = JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.org/a.png", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        (data_url(b"GIF89a", "gif"), "only"),
        (data_url(b"not a picture at all"), "neither a PNG nor a JPEG"),
        (data_url(CUT), "cannot be read"),
        (data_url(JPEG[:60], "jpeg"), "cannot be read"),
        (data_url(png(60_000, 60_000, pixels=b"")), "at most"),
        (data_url(png(8, 8, pixels=b"\0" * 40_000_000)), "inflates to more"),
        (data_url(png(5000, 9, seed=1)), "64 times"),
    ],
    ids=lambda value: value[:24],
)
def test_hostile_and_broken_pictures_are_refused_by_their_place_and_it_lives_on(
    seer: Seer, url: str, words: str
) -> None:
    answer = ask(seer.client, shown(png(), url))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_picture")
    assert error["param"].startswith("messages[0].content[3].image_url")
    assert words in error["message"]
    assert seer.client.get("/health").status_code == 200


NO_FILTER = (b"\x09" + bytes(8 * 3)) * 8
"""Rows of a PNG: filters are 0 to 4."""


def test_a_picture_that_cannot_be_decoded_is_a_warning_of_the_log_and_nothing_of_it_is_said(
    able: None, tmp_path: Path, state_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = spec_of(tiny_model(tmp_path / "model.gguf", heed=3), tiny_projector(tmp_path / "eyes.gguf"))
    with serving(tmp_path, state_dir, spec) as client:
        capfd.readouterr()
        answer = ask(client, shown(png(8, 8, pixels=NO_FILTER)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_picture")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    said = [(line["level"], line["text"]) for line in lines if "picture" in line["text"]]
    assert said
    assert {(level, text.partition(":")[0]) for level, text in said} == {("warning", "a picture of a request")}
    assert not any(line["level"] == "error" for line in lines)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": {}}, "image_url"),
        ({"type": "image_url", "image_url": {"url": data_url(JPEG), "detail": "low"}}, "image_url.detail"),
        ({"type": "image_url", "image_url": {"url": data_url(JPEG), "x": 1}}, "image_url.x"),
        ({"type": "image_url", "image_url": {"url": data_url(JPEG)}, "text": "x"}, "text"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "type"),
    ],
)
def test_parts_that_are_not_as_they_should_be(seer: Seer, part: dict[str, object], param: str) -> None:
    answer = ask(seer.client, [{"role": "user", "content": [part]}])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"messages[0].content[0].{param}")


def test_a_picture_that_the_file_does_not_hold_shows_nothing_that_was_in_memory(seer: Seer) -> None:
    """The decoder leaves its planes as malloc gave them: so they must always be given the same."""
    answers = []
    for number in range(6):  # each in a scope of its own, so that it is decoded anew
        body = {"messages": shown(NO_SCAN), "max_tokens": TOKENS, "temperature": 0}
        answer = seer.client.post("/v1/chat/completions", json=body, headers={"X-Ringfence-Scope": str(number)})
        answers.append(answer.json()["choices"][0]["message"]["content"])
        said(seer.client, png(50 + number, 48, seed=number))  # leaves other things in the heap
        ask(seer.client, [{"role": "user", "content": "secret " * 60 * (number + 1)}])
    assert len(set(answers)) == 1
    assert all(ask(seer.client, shown(NO_SCAN, png(seed=n))).status_code == 200 for n in range(2))


def test_too_many_pictures_and_a_prompt_that_is_too_long(seer: Seer) -> None:
    answer = ask(seer.client, shown(*[JPEG] * 33))
    assert answer.json()["error"]["param"] == "messages[0].content[65].image_url"
    answer = ask(seer.client, shown(*[JPEG] * 31))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_it_says_of_itself_that_it_sees(seer: Seer) -> None:
    assert seer.client.get("/health").json()["pictures"] is True
    assert seer.client.get("/v1/models").json()["data"][0]["pictures"] is True


def test_who_leaves_while_a_picture_is_read_leaves_nothing_behind(seer: Seer) -> None:
    """Cancelled at any moment, before, in and after the picture; others' answers stay as they are."""
    alone = said(seer.client, png(seed=21))

    def leave(seconds: float) -> None:
        body = {"messages": shown(*(png(seed=30 + n) for n in range(3))), "max_tokens": 400, "stream": True}
        with contextlib.suppress(httpx.TimeoutException):
            seer.client.post("/v1/chat/completions", json=body, timeout=seconds)

    leaving = [threading.Thread(target=leave, args=(0.01 * number,)) for number in range(1, 6)]
    for thread in leaving:
        thread.start()
    assert said(seer.client, png(seed=21)) == alone
    for thread in leaving:
        thread.join()
    deadline = time.monotonic() + 60
    while (now := seer.client.get("/health").json())["running"] + now["waiting"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (now["running"], now["waiting"]) == (0, 0)
    assert said(seer.client, png(seed=21)) == alone


# ── files that do not fit ──


def health_of(folder: Path, state_dir: Path, spec: EngineSpec) -> httpx.Response:
    """Once it serves or has failed."""
    listener, path = listen(folder)
    child = Child(listener, path, spawn(listener, spec, state_dir))
    try:
        with child.client() as client:
            deadline = time.monotonic() + 120
            while (found := client.get("/health")).status_code == 503 and time.monotonic() < deadline:
                time.sleep(0.05)
            return found
    finally:
        child.end()


MADE: list[tuple[Any, str]] = [
    (tiny_model, "is no projector"),
    (lambda path: tiny_projector(path, 4, projects=32), "libmtmd cannot load this projector"),
    (lambda path: tiny_projector(path, 4, kind="unheard_of"), "libmtmd cannot load this projector"),
]


@pytest.mark.parametrize(("make", "told"), MADE)
def test_a_file_that_is_no_projector_of_this_model_fails_the_load_and_health_says_why(
    able: None, tmp_path: Path, state_dir: Path, make: Any, told: str
) -> None:
    make(tmp_path / "eyes.gguf")
    found = health_of(tmp_path, state_dir, spec_of(tiny_model(tmp_path / "m.gguf"), tmp_path / "eyes.gguf"))
    assert found.status_code == 500
    assert told in found.json()["reason"]
    assert "eyes.gguf" in found.json()["reason"]


def test_a_model_that_ranks_takes_no_projector(able: None, tmp_path: Path, state_dir: Path) -> None:
    spec = spec_of(tiny_ranker(tmp_path / "m.gguf"), tiny_projector(tmp_path / "eyes.gguf", 2))
    found = health_of(tmp_path, state_dir, replace(spec, context=256))
    assert (found.status_code, "no use for a projector" in found.json()["reason"]) == (500, True)


def test_a_projector_that_is_another_file_is_not_loaded(able: None, tmp_path: Path, state_dir: Path) -> None:
    projector = tmp_path / "eyes.gguf"
    projector.write_bytes(gguf({"general.architecture": "clip"}, {}))
    spec = replace(spec_of(tiny_model(tmp_path / "m.gguf"), projector), mmproj_sha256="0" * 64)
    listener, path = listen(tmp_path)
    child = Child(listener, path, spawn(listener, spec, state_dir))
    try:
        assert child.process.wait(60) == 2
    finally:
        child.end()


def test_without_a_projector_pictures_are_refused_by_name(client: httpx.Client) -> None:
    answer = ask(client, shown(JPEG))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[0].content[1].type")
    assert "reads text only" in answer.json()["error"]["message"]
