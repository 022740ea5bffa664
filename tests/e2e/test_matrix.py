"""A sample of the matrix of faults, spread over policies, phases and kinds; `make faults` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.matrix import POLICIES, Cell, cells, phase_of, run, town

EVERY = 23  # a prime: it walks through all columns
SLOW = frozenset({"endless_stream", "blackhole", "endless_body"})
SAMPLE = [cell for cell in cells()[7::EVERY] if cell.fault not in SLOW]


def test_the_matrix_is_as_large_as_promised_and_every_fault_has_its_phase() -> None:
    assert len(cells()) >= 300
    assert {phase_of(cell.fault) for cell in cells() if not cell.fault} == {"none"}
    assert "none" not in {phase_of(cell.fault) for cell in cells() if cell.fault}
    assert {cell.policy for cell in SAMPLE} == set(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sample_of_it(policy: str, tmp_path: Path) -> None:
    sample: list[Cell] = [cell for cell in SAMPLE if cell.policy == policy]
    with town(policy, tmp_path) as (service, fakes):
        results = [run(cell, service, fakes) for cell in sample]
    assert [result for result in results if result.bad] == []
    assert any(result.told.startswith("200") for result in results)
