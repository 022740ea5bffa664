"""`ringfence doctor`: what this machine can enforce, found out by attack in throw-away processes."""

from __future__ import annotations

import json as encoding
import platform
import subprocess
import sys
from typing import Annotated

import typer

from router.seal.attestation import NONE, Attestation, Result
from router.seal.profiles import Profile

PATIENCE_S = 30.0
FAULT = 2


def doctor(*, json: Annotated[bool, typer.Option("--json", help="for programs")] = False) -> None:
    """Say what the kernel can forbid each process of the service here."""
    found = [examine(profile) for profile in Profile]
    if json:
        typer.echo(encoding.dumps([encoding.loads(attestation.to_json()) for attestation in found], indent=2))
        return
    typer.echo(f"Linux {platform.release()} on {platform.machine()}, Landlock version {found[0].landlock or NONE}")
    for attestation in found:
        typer.echo("\n".join(described(attestation)))
    for file in found[0].path_files:
        typer.echo(f"runs at every start of Python: {file.name} sha256 {file.sha256}")


def examine(profile: Profile) -> Attestation:
    """Seal a process of this kind that does nothing else, and hear what it found. Exit code 2 when it can't tell."""
    command = [sys.executable, "-I", "-m", "router.seal", "--profile", profile]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        typer.echo(f"The {profile} could not be examined: {last}", err=True)
        raise typer.Exit(FAULT)
    return Attestation.from_json(ended.stdout)


def described(attestation: Attestation) -> list[str]:
    """For people: what holds, how many attacks it withstood, what got through, what is missing and why."""
    blocked = sum(attempt.result is Result.BLOCKED for attempt in attestation.attempts)
    lines = [f"{attestation.profile}: {attestation.seal}; {blocked} of {len(attestation.attempts)} attacks refused"]
    others = [attempt for attempt in attestation.attempts if attempt.result is not Result.BLOCKED]
    lines += [f"  {attempt.result}: {attempt.name} {attempt.error}".rstrip() for attempt in others]
    return lines + [f"  {note}" for note in attestation.notes]
