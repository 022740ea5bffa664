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
from router.seal.enclose import Plan, begin, enclose
from router.seal.process import UnexpectedlyHeld
from router.seal.profiles import Profile
from router.seal.rooms import room_of

REFUSED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """3 when the seal is not what was required; otherwise it does not return, or 0 without COMMAND."""
    options = _parse(arguments)
    begin()
    for directory in options.write:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    announced = {*options.hold, *([] if options.report is None else [options.report])}
    room = room_of(options.profile, read=tuple(options.read), write=tuple(options.write))
    try:
        attestation = enclose(Plan(options.profile, room, announced))
    except UnexpectedlyHeld as error:
        return _refuse(options.report, f"the {options.profile} is not sealed: {error}")
    _tell(options.report, {"word": "sealed", "text": attestation.to_json()})
    if reason := attestation.shortfall(options.require):
        return _refuse(options.report, reason)
    if options.command:
        if options.report is not None:
            os.close(options.report)
        os.execv(options.command[0], options.command)  # noqa: S606 - no shell
    print(attestation.to_json())  # noqa: T201 - what it was asked for
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="router.seal")
    parser.add_argument("--profile", type=Profile, choices=list(Profile), required=True)
    parser.add_argument("--read", action="append", default=[])
    parser.add_argument("--write", action="append", default=[])
    parser.add_argument("--hold", action="append", type=int, default=[])
    parser.add_argument("--require", action="append", choices=[part.value for part in Part], default=[])
    parser.add_argument("--report", type=int)
    parser.add_argument("command", nargs="*")
    return parser.parse_args(arguments)


def _tell(report: int | None, message: dict[str, str]) -> None:
    if report is not None:
        os.write(report, json.dumps(message).encode())


def _refuse(report: int | None, reason: str) -> int:
    _tell(report, {"word": "fatal", "text": reason})
    print(f"router.seal: {reason}", file=sys.stderr)  # noqa: T201 - a command line's error
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
