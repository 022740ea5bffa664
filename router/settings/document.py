"""YAML, strictly: one document of mappings, lists and scalars, each key once, and every value's place remembered.

Read from the C parser's events, so that anchors, aliases and tags are seen and refused. Plain scalars mean what YAML
1.2's core schema says, in its unambiguous part: `no`, `012` and `1:30` are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from msgspec import Struct

from router.settings.findings import Finding, Origin, Path, SettingsError, dotted

DEEPEST: Final = 16
_WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FRACTION: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # no key wants one, and terminals obey some
_WORDS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document(Struct, frozen=True):
    """The tree (dicts, tuples, scalars) and where each value (for a mapping: its key) was written."""

    tree: Any
    origins: Mapping[Path, Origin]
    findings: tuple[Finding, ...] = ()  # mistakes that leave the rest readable


def parse(text: str, file: str) -> Document:
    """The one document of this text. A key written twice is a finding; the last one is read, to judge the rest.

    SettingsError for what leaves no document to judge: bad syntax, anchors, aliases, tags, too deep.
    """
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.YAMLError as error:
        builder.findings.append(_syntax(error, text, file))
    except _TooDeep:
        pass  # reported; there is no sense in what follows
    if builder.findings:
        raise SettingsError((*builder.twice, *builder.findings))
    return Document(builder.tree, builder.origins, tuple(builder.twice))


class _TooDeep(Exception):
    pass


class _Open(Struct):
    """A mapping or list whose end has not come yet."""

    items: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.tree: Any = None
        self.origins: dict[Path, Origin] = {}
        self.findings: list[Finding] = []
        self.twice: list[Finding] = []
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Build on by one event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._find(event, (), "a second document begins here", "one file holds one document")
        elif isinstance(event, yaml.AliasEvent):
            self._find(event, self._path(), "aliases (*) are not taken", "write the value out")
            self._put(event, None)
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_decoration(event, tag=event.tag)
            if _CONTROL.search(event.value) is not None:
                self._find(event, self._path(), "a control character stands in this text", "remove it")
            self._put(event, _scalar(event))
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._refuse_decoration(event, tag=event.tag)
            self._begin(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()

    def _refuse_decoration(self, event: yaml.NodeEvent, tag: str | None) -> None:
        if event.anchor is not None:
            self._find(event, self._path(), "anchors (&) are not taken", "write the value out where it is used")
        if tag is not None:
            self._find(event, self._path(), f"tags ({tag}) are not taken", "write a plain value")

    def _begin(self, event: yaml.Event) -> None:
        items: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if len(self._open) == DEEPEST:
            self._find(event, self._path(), f"nested deeper than {DEEPEST} levels")
            raise _TooDeep
        if self._open and isinstance(self._open[-1].items, dict) and self._open[-1].key is None:
            self._find(event, self._open[-1].path, "a key must be plain text")
            raise _TooDeep
        path = self._note(event)
        self._open.append(_Open(items, path))

    def _end(self) -> None:
        done = self._open.pop()
        self._store(tuple(done.items) if isinstance(done.items, list) else done.items)

    def _put(self, event: yaml.Event, value: Any) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.items, dict) and top.key is None:
            self._open_key(event, top, top.items, event.value if isinstance(event, yaml.ScalarEvent) else "*")
            return
        self._note(event)
        self._store(value)

    def _open_key(self, event: yaml.Event, top: _Open, items: dict[str, Any], key: str) -> None:
        if key in items:
            path = (*top.path, key)
            place, first = self._origin(event), self.origins[path]
            message = f"this key stands twice (first in line {first.line})"
            self.twice.append(Finding(self.file, place.line, place.column, dotted(path), message, "keep one"))
        top.key = key
        self.origins[(*top.path, key)] = self._origin(event)

    def _note(self, event: yaml.Event) -> Path:
        """The path of the value that begins here. In a mapping the key's place counts."""
        path = self._path()
        self.origins.setdefault(path, self._origin(event))
        return path

    def _path(self) -> Path:
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.items, dict):
            return (*top.path, top.key) if top.key is not None else top.path
        return (*top.path, len(top.items))

    def _store(self, value: Any) -> None:
        if not self._open:
            self.tree = value
            return
        top = self._open[-1]
        if isinstance(top.items, list):
            top.items.append(value)
        else:
            top.items[str(top.key)] = value
            top.key = None

    def _origin(self, event: yaml.Event) -> Origin:
        mark = event.start_mark
        return Origin(self.file, mark.line + 1, mark.column + 1) if mark is not None else Origin(self.file)

    def _find(self, event: yaml.Event, path: Path, message: str, hint: str = "") -> None:
        origin = self._origin(event)
        self.findings.append(Finding(self.file, origin.line, origin.column, dotted(path), message, hint))


def _scalar(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if not event.implicit[0]:  # quoted: always text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def _syntax(error: yaml.YAMLError, text: str, file: str) -> Finding:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        hint = "indent with blanks, not with tabs" if text[mark.index : mark.index + 1] == "\t" else ""
        return Finding(file, mark.line + 1, mark.column + 1, "", f"not YAML: {getattr(error, 'problem', error)}", hint)
    position = getattr(error, "position", 0)
    line = text.count("\n", 0, position) + 1
    return Finding(file, line, 1, "", f"not YAML: {getattr(error, 'reason', error)}", "remove the character")
