"""ringfence models: fetch the weights that the settings name, list what is here, check it again, remove it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from local_engine.gguf import BadModelFile
from local_engine.hub.accept import check_loadable, check_whole
from local_engine.hub.pins import BadPins, read_pins, write_pin
from local_engine.hub.reference import BadReference, Reference, parse
from local_engine.hub.transport import PullFailed
from local_engine.model_file import JOINT
from router.cli.model_rows import Row, rows
from router.pull.order import AnyNews, Arrived, Failed, Progressed, PullOrder, Wanted, pulls_beside
from router.pull.run import run_pull
from router.settings.engine_entries import FileSource
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import Loaded, load_whole
from router.settings.model import SettingsFile
from router.settings.snapshot import AuditSettings
from router.supervisor.scrub import scrubbed

BAD, WRONG = 1, 2
NO_SOURCE = """No model source is listed, so nothing may be fetched. Add the places that you trust to the policy file:
  model_sources:
    hub: {url: "https://huggingface.co:443", third_party_host: true}
Where it sends us on to another host, the pull stops and names it: list that one, too."""

models_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Config = Annotated[Path | None, typer.Option(help="the tier policy file; otherwise what 'serve' would use")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
Names = Annotated[
    list[str] | None, typer.Argument(help="OWNER/NAME:FILE.gguf[@REVISION], or an engine of the file; none: all")
]


@models_app.command()
def pull(
    names: Names = None,
    config: Config = None,
    sha256: Annotated[str, typer.Option(help="what the file must be (hex); for one model")] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch weights from the listed model sources: resumed if cut, checked to the byte, recorded."""
    loaded = _load(config)
    wanted = _wanted(names or [], loaded, sha256)
    snapshot = loaded.snapshot
    if not wanted:
        typer.echo("No engine of these settings takes its model from a repository: there is nothing to pull.")
        return
    if not snapshot.weights.sources:
        typer.echo(NO_SOURCE, err=True)
        raise typer.Exit(BAD)
    audit = AuditSettings(pulls_beside(snapshot.audit.directory), snapshot.audit.durability)
    order = PullOrder(wanted, snapshot.weights, audit, snapshot.policy.digest, snapshot.require_seal)
    show = _Printed() if as_json else _Shown()
    with show:
        code = run_pull(order, scrubbed(current()), show.hear)
    raise typer.Exit(code)


@models_app.command("list")
def list_models(config: Config = None, as_json: AsJson = False) -> None:
    """What the engines use and what was pulled: state, size, digest."""
    found = _rows(_load(config))
    if as_json:
        print(json.dumps([row.document() for row in found]))
        return
    if not found:
        typer.echo("Nothing was pulled, and no engine of these settings takes its model from a repository.", err=True)
    for row in found:
        print(row.text())


@models_app.command()
def verify(names: Names = None, config: Config = None, as_json: AsJson = False) -> None:
    """Read every pulled model again: SHA-256 as pinned, header and template sound. Exit 1 if one is not."""
    chosen = [row for row in _rows(_load(config)) if row.pinned and (not names or names_it(row, names))]
    verdicts = {row.name: _verdict(row) for row in chosen}
    missing = [name for name in names or [] if not any(names_it(row, [name]) for row in chosen)]
    verdicts |= dict.fromkeys(missing, "was never pulled")
    if as_json:
        print(json.dumps(verdicts))
    elif not verdicts:
        typer.echo("Nothing was pulled: there is nothing to verify.", err=True)
    else:
        for name, trouble in verdicts.items():
            print(f"{name}: {trouble or 'sound'}")
    raise typer.Exit(BAD if any(verdicts.values()) else 0)


@models_app.command()
def rm(
    name: Annotated[str, typer.Argument(help="OWNER/NAME:FILE.gguf")],
    config: Config = None,
    forget: Annotated[bool, typer.Option("--forget", help="drop the pin, too: another file may then come")] = False,
) -> None:
    """Remove a pulled model, and what came of a pull that was cut. Its pin stays: only the same file comes back."""
    directory = Path(_load(config).snapshot.weights.directory)
    reference = _reference(name)
    files = _parts(reference)
    paths = [one.within(directory) for one in files]
    found = [one for path in paths for one in (path, *path.parent.glob(f"{path.name}.part*")) if one.exists()]
    try:
        known = [one for one in files if one.name in read_pins(directory)]
        for one in found:
            one.unlink()
        for pinned in known if forget else ():
            write_pin(directory, pinned, None)
    except (OSError, BadPins) as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(WRONG) from None
    if not found and not (forget and known):
        typer.echo(f"{reference.name} is not here: see 'ringfence models list'", err=True)
        raise typer.Exit(BAD)
    pin = "" if not known else ", its pin dropped" if forget else ", its pin kept"
    print(f"removed {reference.name}{pin}")


def names_it(row: Row, names: list[str]) -> bool:
    """Is the row meant by one of these words: its own name, or an engine that uses it?"""
    return any(name.partition("@")[0] == row.name or name in row.engines for name in names)


def _load(config: Path | None) -> Loaded:
    try:
        return load_whole(config, current())
    except SettingsError as error:
        for finding in error.findings:
            typer.echo(str(finding), err=True)
        raise typer.Exit(WRONG if error.unreadable else BAD) from None


def _rows(loaded: Loaded) -> list[Row]:
    try:
        return rows(loaded.settings, Path(loaded.snapshot.weights.directory))
    except BadPins as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(WRONG) from None


def _wanted(names: list[str], loaded: Loaded, sha256: str) -> tuple[Wanted, ...]:
    engines = _sources(loaded.settings)
    unknown = [name for name in names if "/" not in name and name not in engines]
    if unknown:
        typer.echo(f"'{unknown[0]}' is neither OWNER/NAME:FILE.gguf nor an engine with a 'repo'", err=True)
        raise typer.Exit(WRONG)
    if sha256 and (len(names) != 1 or len(engines.get(names[0], "1")) > 1):
        typer.echo("--sha256 is for one model: name it", err=True)
        raise typer.Exit(WRONG)
    found = []
    for name in names or engines:
        if name not in engines:
            found += _files(_reference(name), sha256)
        for source in engines.get(name, ()):
            reference = Reference(source.repo or "", source.file or "", source.revision or "main")
            found += _files(reference, sha256 or source.sha256 or "")
    return tuple(dict.fromkeys(found))


def _sources(settings: SettingsFile) -> dict[str, list[FileSource]]:
    """What each engine takes from a repository: its model, its projector; engines that take nothing are left out."""
    found = {
        name: [source for source in (entry.model, entry.mmproj) if source is not None and source.repo]
        for name, entry in settings.engines.items()
    }
    return {name: sources for name, sources in found.items() if sources}


def _files(reference: Reference, sha256: str) -> list[Wanted]:
    """A model in parts is as many files, each with a digest of its own."""
    files = _parts(reference)
    digests = sha256.split(JOINT) if sha256 else [""] * len(files)
    if len(digests) != len(files):
        typer.echo(f"{reference.name} has {len(files)} files, and {len(digests)} digests are given for them", err=True)
        raise typer.Exit(WRONG)
    return [Wanted(one.repo, one.file, one.revision, digest) for one, digest in zip(files, digests, strict=True)]


def _parts(reference: Reference) -> tuple[Reference, ...]:
    try:
        return reference.parts
    except BadReference as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(WRONG) from None


def _reference(name: str) -> Reference:
    try:
        return parse(name)
    except BadReference as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(WRONG) from None


def _verdict(row: Row) -> str:
    """What is wrong with a pulled model; empty: nothing."""
    try:
        check_whole(row.path, row.sha256, lambda *_: None)
        check_loadable(row.path)
    except FileNotFoundError:
        return "is not here: pull it again"
    except (OSError, PullFailed, BadModelFile) as error:
        return str(error)
    return ""


class _Printed:
    """News as JSON, one a line."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def hear(self, news: AnyNews) -> None:
        print(msgspec.json.encode(news).decode())


class _Shown:
    """A bar on a terminal, and a line for each model and each failure."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def hear(self, news: AnyNews) -> None:
        match news:
            case Progressed():
                key = (news.model, news.stage)
                if key not in self._tasks:
                    self._tasks[key] = self._bars.add_task(f"{news.stage} {news.model}", total=news.total)
                self._bars.update(self._tasks[key], completed=news.done)
            case Arrived():
                how = f"{news.fetched} bytes fetched" if news.fetched else "was here already"
                typer.echo(f"{news.model}: {news.size} bytes, sha256 {news.sha256} ({how})")
            case Failed():
                typer.echo(f"ringfence: {news.reason}", err=True)
