"""The list of commands in a group's help: each with its whole first sentence, wrapped. Typer cuts it to one line."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_LONGEST = 1000


class WholeSentences(TyperGroup):
    """A group of commands whose help leaves nothing out."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(_LONGEST)) for name, one in found if one is not None and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
