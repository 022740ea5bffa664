"""What `ringfence check` tells of programs that the service would run: what each is left with."""

from __future__ import annotations

from collections.abc import Mapping

from router.settings.snapshot import ManagedSettings
from router.supervisor.belongings import readable


def documents(programs: Mapping[str, ManagedSettings]) -> dict[str, dict[str, object]]:
    """For programs; `reads` is what is there now."""
    return {name: _document(one) for name, one in programs.items()}


def described(programs: Mapping[str, ManagedSettings]) -> list[str]:
    """For people. What the kernel enforces of it here is the doctor's to find out."""
    return [_line(name, one) for name, one in programs.items()]


def _document(one: ManagedSettings) -> dict[str, object]:
    reads = list(dict.fromkeys((*readable(one.command), *one.read)))
    return {"network": one.network, "address": _address(one), "reads": reads, "writes": list(one.write)}


def _line(name: str, one: ManagedSettings) -> str:
    where, instead = "on a socket, in an empty network", ""
    if one.address[1]:
        where = f"at {_address(one)} of a network of its own"
        instead = " (where none can be had: of this machine's, and it says so)"
    reads = ", ".join(dict.fromkeys((*readable(one.command), *one.read))) or "nothing that is there"
    writes = ", ".join(("its home", *one.write))
    return f"program {name}: serves {where}{instead}; beside the system it reads {reads}; it writes {writes}"


def _address(one: ManagedSettings) -> str:
    host, port = one.address
    return f"{host}:{port}" if port else ""
