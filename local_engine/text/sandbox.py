"""Jinja's sandbox, and what it leaves open: arithmetic that takes hours or all memory in a single step."""

from __future__ import annotations

from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1 << 20
"""Items of what a template may make by repeating, and bits of its numbers' product: prompts need less."""


class Sandbox(ImmutableSandboxedEnvironment):
    """No template of a published model raises a number to a power; many repeat a short text."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or _size(left) * _size(right) > LONGEST:
            raise SecurityError(f"the chat template computes too much by {operator!r}")
        return super().call_binop(context, operator, left, right)


def _size(value: Any) -> int:
    """How often a number repeats a text, or how long a text is; 1 for a small number times another is near enough."""
    if isinstance(value, int):
        return max(abs(value), 1)
    return max(len(value), 1) if hasattr(value, "__len__") else 1
