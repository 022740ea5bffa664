"""Where a service's ledger lies, as its settings say it, even when these settings are no good any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath

from router.settings import document, environment
from router.settings.files import read_text
from router.settings.findings import SettingsError
from router.settings.ledger_entries import AuditEntry


def ledger_directory(config: FilePath | None, variables: Mapping[str, str]) -> FilePath:
    """The file's word before the environment's, before the default; what is no good YAML says nothing.

    SettingsError for a file that cannot be read: whoever mistypes its name means another service.
    """
    found = environment.read(variables)
    config = config if config is not None else FilePath(found.config) if found.config else None
    working = FilePath.cwd()
    said, variable = _said(_tree(config)), _said(found.general.tree)
    beside = (working / config).parent if config is not None else working
    if variable and not said:
        return working / _at_home(variable)
    return beside / _at_home(said or AuditEntry().directory)


def _at_home(text: str) -> FilePath:
    try:
        return FilePath(text).expanduser()
    except RuntimeError:  # nobody's home: nothing is there, as whoever looks will find
        return FilePath(text)


def _tree(config: FilePath | None) -> object:
    try:
        return document.parse(read_text(config), str(config)).tree if config is not None else None
    except SettingsError as error:
        if error.unreadable:
            raise
        return None


def _said(tree: object) -> str:
    audit = tree.get("audit") if isinstance(tree, dict) else None
    directory = audit.get("directory") if isinstance(audit, dict) else None
    return directory if isinstance(directory, str) else ""
