"""What of a cut stream may be continued, and what the next upstream is asked then."""

from __future__ import annotations

import json

import pytest

from policies import Backend
from router.continuation import Spoken, continued, marker

ASKED = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0}


def event(delta: dict[str, object], **choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, **choice}]}).encode() + b"\n\n"


ONE, TWO = event({"role": "assistant", "content": "one "}), event({"content": "two "})


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (ONE + b": a comment\n\n" + TWO, "one two "),
        (ONE + event({"content": None}) + b'data: {"choices":[],"usage":{}}\n\n', "one "),
        (b": nothing yet\n\n", None),
        (event({"role": "assistant"}), None),
        (ONE + event({"tool_calls": [{"index": 0}]}), None),
        (ONE + event({"reasoning_content": "hm"}), None),
        (ONE + event({}, finish_reason="stop"), None),  # it had ended: nothing is missing but [DONE]
        (ONE + b'data: {"error":{"message":"no"}}\n\n', None),
        (ONE + b"data: no json\n\n" + TWO, None),
        (ONE + b'data: {"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}\n\n', None),
    ],
)
def test_only_plain_text_is_continued(events: bytes, text: str | None) -> None:
    spoken = Spoken(ASKED)
    spoken.hear(events)
    assert spoken.text() == text


@pytest.mark.parametrize("document", [{**ASKED, "tools": [{}]}, {**ASKED, "n": 2}, {"prompt": "x"}])
def test_nor_are_tools_several_choices_or_what_is_no_chat(document: dict[str, object]) -> None:
    spoken = Spoken(document)
    spoken.hear(ONE)
    assert spoken.text() is None


def test_what_was_said_is_the_beginning_of_the_rest() -> None:
    said = {"role": "assistant", "content": "one "}
    plain = continued(ASKED, "one ", Backend.LLAMA_CPP)
    assert plain == {"messages": [*ASKED["messages"], said], "temperature": 0}  # type: ignore[misc]  # a list
    told = continued(ASKED, "one ", Backend.VLLM)
    assert told == {**plain, "continue_final_message": True, "add_generation_prompt": False}
    assert continued(ASKED, "one ", Backend.OLLAMA) is None
    assert marker("gpu", "gpu-2") == b": cut here, continued by gpu/gpu-2\n\n"
