"""Facts about prompts: what counts, and that a malformed body only ever counts as nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import LANGUAGES, PromptFacts, prompt_facts
from policies.language import language_of
from policies.prompt import code_share

PYTHON = """
def greet(name: str) -> str:
    text = "hello " + name
    return format(text, name)

print(greet("you"))
"""
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["role", "content", "text", "type", "messages", "x"]), inner, max_size=4
    ),
    max_leaves=20,
)  # fmt: skip


def user(content: object, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "four"}, {"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (user("12345"), {"characters": 9, "messages": 2}),
        (user([{"type": "text", "text": "123"}, {"type": "image_url"}]), {"characters": 7, "images": 1}),
        (user("x", tools=[{}, {}]), {"tools": 2}),
        (user("x", functions=[{}]), {"tools": 1}),
        (user("x", max_tokens=7), {"answer_tokens": 7}),
        (user("x", max_tokens=7, max_completion_tokens=9), {"answer_tokens": 9}),
        (user("x", max_tokens=True), {"answer_tokens": None}),
        (user("what is the reason for this and that"), {"language": "en"}),
        ({"messages": [{"role": "assistant", "content": "x = 1"}]}, {"code_share": 1.0}),  # nobody's: all of it
        ({"prompt": "123"}, {"characters": 3, "messages": 0}),
        ({"prompt": ["12", "34"]}, {"characters": 4}),
        ({"prompt": [5, 6, 7]}, {"characters": 12}),
        ({"input": [[5, 6], [7]]}, {"characters": 12}),
        ({"query": "123", "documents": ["4", {"text": "56"}, {"image": "7"}]}, {"characters": 6}),
        ({}, {"characters": 0}),
        ({"messages": ["x", {"role": "user"}], "tools": 3}, {"messages": 2, "characters": 0, "tools": 0}),
    ],
)
def test_facts(body: dict[str, Any], expected: dict[str, Any]) -> None:
    found = prompt_facts(body)
    assert {name: getattr(found, name) for name in expected} == expected


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools", "max_tokens"]), JSON_VALUES))
def test_no_body_is_too_strange(body: dict[str, Any]) -> None:
    assert isinstance(prompt_facts(body), PromptFacts)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0.0, 0.0),
        ("How do I cook rice?\nIs it hard, or easy?", 0.0, 0.0),
        (PYTHON, 1.0, 1.0),
        ("int main(void) {\n  return 0;\n}", 1.0, 1.0),
        ("Why does this fail?\n```\nsome output\nmore output\n```", 0.6, 0.7),
        ("SELECT name FROM users;\nWhat does this do", 0.5, 0.5),
        ("Please explain this line:\nx := f(3)\nThank you very much", 0.3, 0.4),
    ],
)
def test_code_share(text: str, low: float, high: float) -> None:
    assert low <= code_share(text) <= high


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France, and how far is it from here?", "en"),
        ("Wie ist das Wetter und warum ist es nicht warm?", "de"),
        ("Pourquoi est-ce que le ciel est bleu dans les montagnes ?", "fr"),
        ("¿Por qué el cielo es azul y no verde en las montañas?", "es"),
        ("Perché il cielo è blu e non verde, come si può spiegare?", "it"),
        ("Por que o céu é azul e não verde, como você pode explicar isso?", "pt"),
        ("Waarom is de lucht blauw en niet groen, hoe kan ik het zien?", "nl"),
        ("Почему небо голубое?", "ru"),
        ("天空为什么是蓝色的？", "zh"),
        ("空はなぜ青いのですか", "ja"),
        ("하늘은 왜 파란가요", "ko"),
        ("لماذا السماء زرقاء", "ar"),
        ("γιατί ο ουρανός είναι μπλε", "el"),
        ("12345 !!", "other"),
        ("xyzzy plugh", "other"),
        ("", "other"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


@given(st.text())
def test_a_language_is_one_of_the_list(text: str) -> None:
    assert language_of(text) in LANGUAGES
