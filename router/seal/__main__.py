"""`python -I -m router.seal --profile engine [--read PATH …] [--write DIRECTORY …] [--hold FD …] -- COMMAND …`

Seals itself, attacks itself, tells (`--report FD`, as a control message of router.channel), and becomes COMMAND: file
rules, system call filter and network survive execve(2). Without COMMAND it prints what it found out, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from router.seal.attestation import Part
from router.seal.enclose import UNREADABLE, Plan, begin, enclose
from router.seal.namespace import hide, own_network
from router.seal.process import UnexpectedlyHeld
from router.seal.profiles import Profile
from router.seal.rooms import room_of

REFUSED = 3
NOT_STARTED = 126  # as a shell would say


def main(arguments: Sequence[str] | None = None) -> int:
    """3 when the seal is not what was required; otherwise it does not return, or 0 without COMMAND."""
    options = _parse(arguments)
    if options.own_network:
        own_network() or hide("/run")  # what it is left with is found out below
    begin()
    for place in map(Path, options.write):
        if not place.exists():
            place.mkdir(mode=0o700, parents=True)
    announced = {*options.hold, *([] if options.report is None else [options.report])}
    room = room_of(options.profile, read=tuple(options.read), write=tuple(options.write), bind=tuple(options.bind))
    try:
        attestation = enclose(Plan(options.profile, room, announced, granted=_granted(options)))
    except UnexpectedlyHeld as error:
        return _refuse(options.report, f"the {options.profile} is not sealed: {error}")
    _tell(options.report, {"word": "sealed", "text": attestation.to_json()})
    if reason := attestation.shortfall(options.require):
        return _refuse(options.report, reason)
    if options.command:
        if options.report is not None:
            os.close(options.report)
        return _become(options.command)
    print(attestation.to_json())  # noqa: T201 - what it was asked for
    return 0


def _become(command: list[str]) -> int:
    """Returns only when there is no such program, or it may not be run in this room."""
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell
    except OSError as error:
        print(f"router.seal: not started: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - likewise
    return NOT_STARTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="router.seal")
    parser.add_argument("--profile", type=Profile, choices=list(Profile), required=True)
    parser.add_argument("--read", action="append", default=[])
    parser.add_argument("--write", action="append", default=[])
    parser.add_argument("--hold", action="append", type=int, default=[])
    parser.add_argument("--bind", action="append", type=int, default=[])
    parser.add_argument("--require", action="append", choices=[part.value for part in Part], default=[])
    parser.add_argument("--report", type=int)
    parser.add_argument("--own-network", action="store_true")
    parser.add_argument("command", nargs="*")
    return parser.parse_args(arguments)


def _granted(options: argparse.Namespace) -> list[str]:
    """The attacks that are none, because the operator gave it these places."""
    places = {"make_files_tmp": "/tmp", "make_files_var_tmp": "/var/tmp"}  # noqa: S108 - named, not used
    granted = [name for name, place in places.items() if _within(place, options.write)]
    return [*granted, *(["read_files"] if _within(UNREADABLE, [*options.read, *options.write]) else [])]


def _within(place: str, places: Sequence[str]) -> bool:
    return any(Path(place).is_relative_to(Path(one).resolve()) for one in places)


def _tell(report: int | None, message: dict[str, str]) -> None:
    if report is not None:
        os.write(report, json.dumps(message).encode() + b"\n")


def _refuse(report: int | None, reason: str) -> int:
    _tell(report, {"word": "fatal", "text": reason})
    print(f"router.seal: {reason}", file=sys.stderr)  # noqa: T201 - a command line's error
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
