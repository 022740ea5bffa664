"""ringfence check: is this configuration good, what does it come to, and can a failover cross a ceiling?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from policies import Policy
from router.cli.ceilings import ModelRow, Proof, prove, rows
from router.cli.explain import explain
from router.cli.programs import described, documents
from router.settings.effective import lines
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import Loaded, load_whole

__all__ = ["check", "explain"]

AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]


def check(
    file: Annotated[
        Path | None, typer.Argument(help="the tier policy file; without it, what 'serve' would use")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="print every setting and where it came from")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell every mistake of a tier policy file. Exit 0: it is good; 1: it is not; 2: there is no such file."""
    try:
        loaded = load_whole(file, current())
    except SettingsError as error:
        _print_findings(error, as_json=as_json)
        raise typer.Exit(1 if file is None or _is_there(file) else 2) from None
    proof = prove(loaded.snapshot.policy)
    if as_json:
        print(json.dumps(_document(loaded, proof)))
    elif show:
        print("\n".join(lines(loaded.settings, loaded.origins, loaded.snapshot.policy)))
    else:
        _print_summary(loaded, proof)
    raise typer.Exit(1 if proof.crossing else 0)


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a folder on the way is closed to us
        return False


def _print_findings(error: SettingsError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"valid": False, "findings": [msgspec.structs.asdict(finding) for finding in error.findings]}))
        return
    for finding in error.findings:
        typer.echo(str(finding), err=True)
    count = len(error.findings)
    typer.echo(f"not good: {count} finding{'s' if count != 1 else ''}", err=True)


def _document(loaded: Loaded, proof: Proof) -> dict[str, object]:
    policy = loaded.snapshot.policy
    return {
        "valid": not proof.crossing,
        "findings": [],
        "source": loaded.snapshot.source,
        "digest": policy.digest,
        "default_model": policy.default_model,
        "models": [_model(row) for row in rows(policy)],
        "autos": {name: [rule.use for rule in auto.rules] for name, auto in policy.autos.items()},
        "aliases": dict(policy.aliases),
        "programs": documents(loaded.snapshot.managed),
        "proof": {"judged": proof.judged, "refused": proof.refused, "crossing": list(proof.crossing)},
        "settings": lines(loaded.settings, loaded.origins, loaded.snapshot.policy),
        "notes": list(loaded.notes),
    }


def _model(row: ModelRow) -> dict[str, object]:
    tiers = [
        {"name": tier.name, "serves": tier.within, "upstreams": {name: reach.word for name, reach in tier.upstreams}}
        for tier in row.tiers
    ]
    return {"name": row.name, "ceiling": row.ceiling.word, "tiers": tiers}


def _print_summary(loaded: Loaded, proof: Proof) -> None:
    policy = loaded.snapshot.policy
    print(f"good: {loaded.snapshot.source} ({_counts(policy)}), policy {policy.digest[:16]}")
    for row in rows(policy):
        default = ", the default model" if row.name == policy.default_model else ""
        print(f"model {row.name}: ceiling {row.ceiling.word}{default}")
        for number, tier in enumerate(row.tiers, 1):
            print(
                f"  {number}. {tier.name}: {_upstreams(tier.upstreams)}{'' if tier.within else ' - beyond the ceiling'}"
            )
    for name, auto in policy.autos.items():
        default = ", the default model" if name == policy.default_model else ""
        print(f"auto model {name}: one of {', '.join(dict.fromkeys(rule.use for rule in auto.rules))}{default}")
    aliases = [f"alias {alias}: {name}" for alias, name in policy.aliases.items()]
    for line in (*aliases, *described(loaded.snapshot.managed)):
        print(line)
    for crossing in proof.crossing:
        print(f"CROSSES A CEILING: {crossing}")
    if not proof.crossing:
        within = proof.judged - proof.refused
        print(
            f"no failover crosses a ceiling: under every ceiling that a caller can have, {proof.judged} exchanges were "
            f"judged: {within} stay within it, {proof.refused} would not and are never made"
        )
    for note in loaded.notes:
        print(f"note: {note}")


def _upstreams(upstreams: tuple[tuple[str, object], ...]) -> str:
    shown = ", ".join(f"{name} ({getattr(reach, 'word', reach)})" for name, reach in upstreams[:8])
    return shown + (f" and {len(upstreams) - 8} more" if len(upstreams) > 8 else "")


def _counts(policy: Policy) -> str:
    return f"upstreams {len(policy.upstreams)}, tiers {len(policy.tiers)}, models {len(policy.models)}"
