"""Where a service's ledger lies, as its settings say it, even when these settings are no good any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath

from router.settings import document, environment
from router.settings.files import read_text
from router.settings.findings import SettingsError
from router.settings.ledger_entries import AuditEntry


def ledger_directory(config: FilePath | None, variables: Mapping[str, str]) -> FilePath:
    """The file's word before the environment's, before the default; what cannot be read says nothing."""
    found = environment.read(variables)
    config = config if config is not None else FilePath(found.config) if found.config else None
    working = FilePath.cwd()
    said = _said(_tree(config))
    if said and config is not None:
        return (working / config).parent / FilePath(said).expanduser()
    return working / FilePath(_said(found.general.tree) or AuditEntry().directory).expanduser()


def _tree(config: FilePath | None) -> object:
    try:
        return document.parse(read_text(config), str(config)).tree if config is not None else None
    except SettingsError:
        return None


def _said(tree: object) -> str:
    audit = tree.get("audit") if isinstance(tree, dict) else None
    directory = audit.get("directory") if isinstance(audit, dict) else None
    return directory if isinstance(directory, str) else ""
