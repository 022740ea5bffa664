"""The fuzzer's targets hold for their seeds, and for what Hypothesis makes of them; `make fuzz` goes on from there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

QUICK = sorted(TARGETS.keys() - {"service"})  # tests/router/test_anything.py has that one


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_hold(name: str) -> None:
    with TARGETS[name]() as one_input:
        for seed in SEEDS[name]()[:: 1 if name in QUICK else 6]:
            one_input(seed)


@pytest.mark.parametrize("name", QUICK)
def test_seeds_with_changed_bytes_hold(name: str) -> None:
    changes = st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=4)), min_size=1, max_size=4)

    with TARGETS[name]() as one_input:

        @settings(max_examples=200, database=None)
        @given(st.sampled_from(SEEDS[name]()) | st.binary(max_size=80), changes)
        def holds(data: bytes, changed: list[tuple[int, bytes]]) -> None:
            for place, put in changed:
                data = data[:place] + put + data[place + len(put) :]
            one_input(data)

        holds()
