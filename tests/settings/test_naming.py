"""Aliases and `auto` models in a policy file: what is taken, and how each mistake is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from policies import LANGUAGES, Condition
from router.settings.model_entries import Language
from tests.service import ringfence
from tests.settings.conftest import Write, refused, taken

TOP = 'upstreams:\n  a: {url: "http://10.0.0.1:80"}\nmodels:\n  one: {tiers: [a]}\n  two: {tiers: [a]}\n'


def test_rules_aliases_and_the_default(write: Write) -> None:
    text = TOP + (
        '  auto: {aliases: ["org/x:*", gpt], auto: [{when: {images: true, languages: [de]}, use: one}, {use: two}]}\n'
        "default_model: auto\n"
    )
    policy = taken(write(text)).snapshot.policy
    assert policy.aliases == {"org/x:*": "auto", "gpt": "auto"}
    assert [rule.use for rule in policy.autos["auto"].rules] == ["one", "two"]
    assert policy.autos["auto"].rules[0].when == Condition(images=True, languages=("de",))
    assert policy.default_model == "auto"
    assert list(policy.models) == ["one", "two"]
    changed = taken(write(text.replace("images: true", "images: false"))).snapshot.policy
    assert changed.digest != policy.digest


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("three: {reach: host}", "has neither 'tiers' nor 'auto'"),
        ("three: {auto: [{use: one}], tiers: [a]}", "means nothing beside 'auto'"),
        ("three: {auto: [{use: one}], served: {a: b}}", "means nothing beside 'auto'"),
        ("three: {auto: [{use: noe}]}", "did you mean 'one'?"),
        ("three: {auto: [{use: three}]}", "no model with tiers is called 'three'"),
        ("three: {auto: [{use: one}, {use: two}]}", "never reached"),
        ("three: {auto: [{use: one, when: {tools: true}}]}", "is the last rule"),
        ("three: {auto: [{use: one, when: {tool: true}}]}", "did you mean 'tools'?"),
        ("three: {auto: [{use: one, when: {languages: [xx]}}]}", "must be 'ar', 'de'"),
        ("three: {tiers: [a], aliases: [one]}", "is a model of its own"),
        ("three: {tiers: [a], aliases: [x, x]}", ""),
        ("three: {tiers: [a], aliases: [x]}\n  four: {tiers: [a], aliases: [x]}", "stands for 'three' already"),
        ("three: {tiers: [a], aliases: ['x:cloud']}", "sends to its cloud"),
        ("three: {tiers: [a], aliases: ['o*/x']}", "may only stand for the provider"),
        ("three: {tiers: [a], aliases: [':*']}", "may only stand for the provider"),
        ("three: {tiers: [a], aliases: [' ']}", "is not a model's name"),
    ],
)
def test_mistakes(line: str, says: str, write: Write) -> None:
    path = write(f"{TOP}  {line}\n")
    if not says:
        assert taken(path)
        return
    assert any(says in str(finding) for finding in refused(path)), refused(path)


def test_a_default_that_is_an_alias_is_refused(write: Write) -> None:
    found = refused(write(f"{TOP}  three: {{tiers: [a], aliases: [x]}}\ndefault_model: x\n"))
    assert "no model is called 'x'" in str(found[0])


@pytest.mark.parametrize(("name", "hint"), [("auto", "name those that it may choose: one"), ("gpt", "itself: one")])
def test_a_keys_models_are_models_with_tiers(name: str, hint: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(f"- {{id: 0a1b2c3d, sha256: {'a' * 64}, caller: alice, models: [{name}]}}\n")
    (tmp_path / "keys.yaml").chmod(0o600)
    text = (
        TOP.replace("one: {", "one: {aliases: [gpt], ") + "  auto: {auto: [{use: one}]}\ncallers: {file: keys.yaml}\n"
    )
    assert hint in str(refused(write(text))[0])


def test_every_language_that_is_told_may_be_written() -> None:
    assert set(get_args(Language)) == set(LANGUAGES)


def test_explain_says_which_rule_matched_and_why(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "policies" / "examples" / "auto.yaml"
    body = {"model": "deepseek-ai/DeepSeek-V3:novita", "messages": [{"role": "user", "content": "hi"}], "tools": [{}]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    said = ringfence(tmp_path, "explain", "--request", "body.json", "--config", str(example))
    assert said.returncode == 0, said.stderr
    assert "model qwen2.5-coder-32b (asked for as deepseek-ai/DeepSeek-V3:novita)" in said.stdout
    assert "rule 1, qwen2.5-vl-7b: no match: not: images: true (0)" in said.stdout
    assert "rule 3, qwen2.5-coder-32b: chosen: tools: true (1)" in said.stdout
    told = json.loads(
        ringfence(
            tmp_path, "explain", "--request", "body.json", "--config", str(example), "--json", "--reach", "process"
        ).stdout
    )
    assert [rule["verdict"] for rule in told["rules"]] == [
        "no match", "no match", "refused: reach_exceeded", "no match", "chosen"
    ]  # fmt: skip
    assert told["model"] == "qwen2.5-3b"


def test_check_tells_of_them(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "policies" / "examples" / "auto.yaml"
    said = ringfence(tmp_path, "check", str(example)).stdout
    assert "auto model auto: one of qwen2.5-vl-7b, qwen2.5-coder-32b, qwen2.5-3b, the default model" in said
    assert "alias deepseek-ai/DeepSeek-V3:*: auto" in said
