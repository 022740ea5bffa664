"""Guesses looked up in what was read: which, how many, and that they change no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.launch import EngineSpec, command
from local_engine.options import parse
from local_engine.scheduling.lookup import FIRST, MOST, Lookup, Prices, best_length, worth_guessing
from tests.local_engine.conftest import serving
from tests.local_engine.made import tiny_model


def test_what_followed_the_last_run_is_guessed() -> None:
    lookup = Lookup()
    assert lookup.guess([1, 2, 3, 4, 5, 9, 1, 2, 3], 3) == (4, 5, 9)
    assert Lookup().guess([1, 2, 3, 4, 5, 6], 3) == ()
    assert Lookup().guess([1, 2], 3) == ()


def test_a_copy_goes_on_where_it_was_though_the_run_stood_elsewhere_since() -> None:
    """`7 7 7` occurs at every item; the copy of the first list is not led astray into the second one."""
    tokens = [7, 7, 7, 1, 7, 7, 7, 2, 7, 7, 7, 3, 50, 7, 7, 7, 8, 7, 7, 7, 9, 60, 7, 7, 7, 1]
    lookup = Lookup()
    assert lookup.guess(tokens, 1) == (7,)
    tokens += [7, 7, 7]
    assert lookup.guess(tokens, 1) == (2,)
    tokens += [2]
    assert lookup.guess(tokens, 5) == (7, 7, 7, 3, 50)


def test_a_copy_that_was_left_is_found_again() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 99, 1, 2, 3]
    lookup = Lookup()
    assert lookup.guess(tokens, 2) == (4, 5)
    tokens += [42, 5, 6, 7]
    assert lookup.guess(tokens, 2) == (8, 99)


@pytest.mark.parametrize(
    ("right", "more", "length"),
    [
        (0.95, 0.02, MOST),  # further tokens cost next to nothing: matrix tiles, a graphics card
        (0.9, 0.1, 10),
        (0.97, 0.57, 6),  # measured: SmolLM2 on a core without matrix tiles
        (0.75, 0.57, 1),
        (0.5, 0.57, 0),
        (0.99, 1.0, 0),  # a token more costs a decode more: never
        (0.0, 0.02, 0),
    ],
)
def test_as_many_guesses_as_pay(right: float, more: float, length: int) -> None:
    assert best_length(right, more, MOST) == length
    assert best_length(right, more, 1) == min(1, length)


def test_wrong_guesses_end_guessing_and_it_is_tried_again_later() -> None:
    lookup, prices = Lookup(), Prices(more=0.5)
    tokens = [1, 2, 3, 4, 1, 2, 3]
    wrong = 0
    while worth_guessing(lookup, prices, tokens, MOST):
        lookup.judge(1, 0)
        wrong += 1
    assert 0 < wrong < 5
    waited = 0
    while not worth_guessing(lookup, prices, tokens, MOST):
        lookup.judge(0, 0)
        waited += 1
    assert 10 < waited < 100
    assert lookup.right <= FIRST


def test_guesses_that_come_true_lead_to_longer_ones() -> None:
    lookup = Lookup()
    before = best_length(lookup.right, 0.3, MOST)
    for _ in range(10):
        lookup.judge(4, 4)
    assert best_length(lookup.right, 0.3, MOST) > before
    lookup.judge(8, 2)
    assert lookup.right < 0.95, "those after the first wrong one tell nothing, the first wrong one does"


def test_what_a_further_token_costs_is_measured() -> None:
    prices = Prices()
    prices.observe(5, 9.0)  # nothing to compare it with yet
    assert prices.more == Prices().more
    for _ in range(100):
        prices.observe(1, 0.01)
        prices.observe(9, 0.026)
    assert prices.more == pytest.approx(0.2, abs=0.01)
    for _ in range(100):
        prices.observe(2, 9.0)
    assert prices.more == pytest.approx(1.0, abs=0.01)


def test_the_command_line_says_so() -> None:
    assert parse(command(replace(EngineSpec(), lookup=True), 3, Path("/state"))[4:]).spec.lookup
    assert not parse(command(EngineSpec(), 3, Path("/state"))[4:]).spec.lookup


REPEATED = "<li>one</li>\n<li>two</li>\n<li>three</li>\n"
GREEDY: dict[str, Any] = {"prompt": REPEATED * 2, "temperature": 0, "max_tokens": 24}
BODIES: list[dict[str, Any]] = [
    GREEDY,
    GREEDY,  # finds its prefix as it was left
    {**GREEDY, "logprobs": 1, "stop": ["three"]},
    {"prompt": REPEATED, "temperature": 0.7, "seed": 5, "max_tokens": 24, "repeat_penalty": 1.1},
    {**GREEDY, "response_format": {"type": "json_object"}},
]


def choices(client: httpx.Client, body: dict[str, Any]) -> Any:
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    scores = (choice.pop("logprobs") or {}).get("token_logprobs")
    return choice, answer.json()["usage"]["completion_tokens"], scores


@pytest.mark.engine
def test_answers_are_the_same_with_guesses_and_without(built: None, tmp_path: Path, state_dir: Path) -> None:
    """Of a model that repeats lists, and of one that writes noise."""
    tiny = str(tiny_model(tmp_path / "tiny.gguf"))
    for name, model in (("small", EngineSpec().model), ("tiny", tiny)):
        found: list[list[Any]] = []
        for lookup in (False, True):
            folder = tmp_path / f"{name}-{lookup}"
            folder.mkdir()
            spec = EngineSpec(model=model, context=512, parallel=2, threads=1, lookup=lookup)
            with serving(folder, state_dir, spec) as client:
                found.append([choices(client, body) for body in BODIES])
        for without, guessed in zip(*found, strict=True):
            assert guessed[:2] == without[:2]
            assert guessed[2] is None or guessed[2] == pytest.approx(without[2], abs=0.05)
