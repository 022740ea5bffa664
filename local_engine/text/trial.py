"""Does a chat template render at all? Asked before a model is taken, and before it is served."""

from __future__ import annotations

from local_engine.text.template import ChatTemplate

MESSAGES = [{"role": "user", "content": "Hello."}]


def try_template(source: str) -> None:
    """TemplateRefusal when the sandbox cannot render one user's message, or nothing comes of it."""
    ChatTemplate(source, ()).render(MESSAGES)
