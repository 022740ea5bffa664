"""The reference page and the sample environment say what the settings are."""

from __future__ import annotations

import re

from router.channel.messages import Cause
from router.channel.states import State
from router.settings.environment import FIRST_TIER, TIER_PARTS, VARIABLES
from router.settings.load import load_whole
from tools import reference, tiers_page


def test_the_reference_page_is_the_one_that_the_settings_make() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run tools/reference.py"


def test_the_hardware_page_is_the_one_that_the_decision_makes() -> None:
    assert reference.HARDWARE.read_text(encoding="utf-8") == reference.hardware(), "run tools/reference.py"


def test_the_tiers_page_is_the_one_that_the_settings_and_the_tables_make() -> None:
    assert reference.TIERS.read_text(encoding="utf-8") == tiers_page.page(reference.row), "run tools/reference.py"
    assert {cause for cause in Cause if cause not in tiers_page.HAPPENS} == tiers_page.NOT_OF_UPSTREAMS
    assert set(tiers_page.STATES) == set(State)


def test_the_sample_environment_is_the_one_that_the_settings_make() -> None:
    assert reference.SAMPLE.read_text(encoding="utf-8") == reference.sample(), "run tools/reference.py"


def test_the_sample_names_every_variable_with_a_reason() -> None:
    text = reference.SAMPLE.read_text(encoding="utf-8")
    names = re.findall(r"^# .+\n#([A-Z0-9_]+)=", text, re.MULTILINE)
    known = [variable.name for variable in (*FIRST_TIER, *VARIABLES)]
    assert sorted(names) == sorted([*known, *(f"TIER2_{part}" for part, _ in TIER_PARTS)])


def test_the_sample_values_are_good() -> None:
    files = ("RINGFENCE_CONFIG", "RINGFENCE_KEYS_FILE", "RINGFENCE_TLS_CERTIFICATE", "RINGFENCE_TLS_KEY")  # not here
    values = {name: value for name, value in reference.SAMPLES.items() if name not in files}
    assert list(load_whole(None, values).snapshot.policy.tiers) == ["tier-1", "space", "embedded"]


def test_every_key_has_a_description() -> None:
    assert "| None |" not in reference.page()
