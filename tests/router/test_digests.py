"""Which texts a reviewer can ask about."""

from __future__ import annotations

from typing import Any

import pytest

from router.gate.digests import MOST, texts_of


@pytest.mark.parametrize(
    ("document", "texts"),
    [
        ({"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]}, [b"one", b"two"]),
        (
            {"messages": [{"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}]},
            [b"ab"],
        ),
        (
            {"messages": [{"content": [{"text": "a"}, {"image_url": {"url": "data:1"}}, {"image_url": "data:2"}]}]},
            [b"a", b"data:1", b"data:2"],
        ),
        ({"messages": [{"content": [{"image_url": {}}, {"image_url": 7}]}]}, []),
        ({"prompt": "p"}, [b"p"]),
        ({"prompt": ["p", "q"]}, [b"p", b"q"]),
        ({"prompt": [1, 2, 3]}, []),
        ({"input": "i"}, [b"i"]),
        ({"query": "q", "documents": ["a", {"text": "b"}, {"image": "c"}, {"text": 7}]}, [b"q", b"a", b"b"]),
        ({"messages": "no", "input": 7}, []),
        ({"messages": [7, {"content": None}, {"content": ""}]}, []),
        ({"messages": [{"content": str(n)} for n in range(100)]}, [str(n).encode() for n in range(100 - MOST, 100)]),
    ],
)
def test_each_message_is_one_text(document: dict[str, Any], texts: list[bytes]) -> None:
    assert texts_of(document) == texts
