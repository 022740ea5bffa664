"""`python ringfence-verify.pyz DIR`: the verifier alone, for a machine that has Python and `cryptography` only."""

from __future__ import annotations

import argparse
import json
import signal
import stat
import sys
from pathlib import Path
from typing import NoReturn

from router.audit.format import layout
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.keys import load_keys
from router.audit.verify.lines import STANDARD, Codec
from router.audit.verify.processes import cores, verify_with


class _Parser(argparse.ArgumentParser):
    """A wrong option is no verdict, so not argparse's exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(3, f"cannot verify: {message}\n")


def arguments() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ringfence-verify",
        description="Verify a Ringfence ledger. Exit code: 0 intact, 1 tampered, 2 incomplete or (with --strict) "
        "not fully checked, 3 cannot verify.",
    )
    parser.add_argument("directory", type=Path, help="the ledger's directory, or a file in it")
    parser.add_argument("--key", type=Path, help="the reviewer's secret key; else DIR/reviewer.key, if it is there")
    parser.add_argument("--vkey", help="the log's public key (text or file) as you noted it; else DIR/log.vkey")
    parser.add_argument("--note", action="append", default=[], help="SIZE:ROOT from a notebook, or a saved checkpoint")
    parser.add_argument("--strict", action="store_true", help="exit 2 also when something could not be checked")
    parser.add_argument("--jobs", type=int, default=0, help="so many processes; else one for each core")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _is_directory(path: Path) -> bool:
    """OSError where we may not look: `Path.is_dir` of newer Pythons says False of it."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def ledger_directory(path: Path) -> Path:
    """The ledger's directory, for it or for a segment or the checkpoint in it; CannotVerifyError if none lies there."""
    directory = path
    try:
        if path.is_file():
            directory = path.parent.parent if path.parent.name == layout.SEGMENTS else path.parent
        directory.stat()
        there, whole = True, _is_directory(directory / layout.SEGMENTS)
    except FileNotFoundError:
        there, whole = False, False
    except OSError as error:  # no name that a file can have, or nothing that we may look into
        raise CannotVerifyError(f"{path} cannot be looked at: {error.strerror}") from None
    if not whole:
        what = f"has no {layout.SEGMENTS}/" if there else "does not exist"
        raise CannotVerifyError(f"there is no ledger at {path} (it {what}): name the directory that holds log.vkey")
    return directory


def run(options: argparse.Namespace, codec: Codec = STANDARD) -> int:
    """Verify, print, and return the exit code."""
    try:
        directory = ledger_directory(options.directory)
        keys = load_keys(directory, options.key, options.vkey, tuple(options.note))
        report = verify_with(directory, keys, codec, options.jobs or cores())
    except CannotVerifyError as error:
        print(f"cannot verify: {error}", file=sys.stderr)  # noqa: T201 - a command-line tool
        return 3
    except Exception as error:  # noqa: BLE001 - a reviewer gets a verdict or a sentence, and no third thing
        told = f"{type(error).__name__}: {error}"
        print(f"cannot verify: a mistake of this program, or not enough memory: {told}", file=sys.stderr)  # noqa: T201
        return 3
    strict = options.strict
    text = json.dumps(report.as_json(strict=strict), indent=1) if options.json else report.text(strict=strict)
    print(text)  # noqa: T201 - a command-line tool
    return report.exit_code(strict=strict)


def main() -> int:
    try:
        return run(arguments().parse_args())
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as a shell says it


if __name__ == "__main__":
    sys.exit(main())
