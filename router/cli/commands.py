"""Which commands there are, and where each stands: only the one that is called is imported.

So `serve` starts in half the CPU time: what reviewers, models and the doctor need brings libraries of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import typer

from router.cli.border import border
from router.cli.listing import WholeSentences
from router.memory import importing

COMMANDS: Final = {  # name -> module:function, in the order of the help
    "serve": "serve:serve",
    "check": "check:check",
    "explain": "explain:explain",
    "warm": "warm:warm",
    "reload": "orders:reload",
    "narrow": "orders:narrow",
    "switch": "orders:switch",
    "stop": "orders:stop",
    "logs": "orders:logs",
    "prove": "prove:prove",
    "doctor": "doctor:doctor",
    "export": "export:export",
    "keys": "keys:keys_app",
    "models": "models:models_app",
    "audit": "audit:audit_app",
}
GROUPS: Final = {  # name -> help of those that are groups of commands
    "keys": "Callers' keys: shown once, stored only hashed.",
    "models": "Model weights: fetch, list, verify, remove.",
    "audit": "Verify and read the ledger.",
}


class Standing(Mapping[str, Any]):
    """The commands by name, each imported when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = made(name, COMMANDS[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Commands(WholeSentences):
    """The program's own group. Its help imports all commands, since each tells its own first sentence."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.commands: Any = Standing()

    def invoke(self, ctx: Any) -> Any:
        """Typer calls a reader that has gone "1", which is a verdict here: `border` knows better."""
        with border():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def made(name: str, where: str) -> Any:
    """The command, imported and made of its function or of its own group."""
    module, _, attribute = where.partition(":")
    with importing():
        found = getattr(import_module(f"router.cli.{module}"), attribute)
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if name in GROUPS:
        holder.add_typer(found, cls=WholeSentences, name=name, help=GROUPS[name])
    else:
        holder.command(name)(found)
    return typer.main.get_group(holder).commands[name]
