"""The installed program's way to read many lines at once: msgspec, with one typed form for each kind of record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from operator import or_
from typing import Any, ClassVar, Final, get_type_hints

import msgspec
from msgspec import UNSET

from router.audit.fields import FORMS, Body
from router.audit.kinds import Kind
from router.audit.verify.lines import CAPTURE, Codec, Columns

_KIND: Final = b',"kind":"'  # between a record's times and the rest of it


class Told(msgspec.Struct):
    """A body that was read; to its readers it is a mapping of the members that the line has."""

    def get(self, name: str, default: Any = None, /) -> Any:
        value = getattr(self, name, UNSET)
        return default if value is UNSET else value

    def keys(self) -> Iterator[str]:
        return (name for name in self.__struct_fields__ if getattr(self, name) is not UNSET)

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self.keys())

    def __getitem__(self, name: str, /) -> Any:
        value = getattr(self, name, UNSET)
        if value is UNSET:
            raise KeyError(name)
        return value

    def __contains__(self, name: object, /) -> bool:
        return getattr(self, str(name), UNSET) is not UNSET


class Times(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    t: int
    mono: int


class Rest(msgspec.Struct):
    """Kind and body."""

    kind: ClassVar[str]
    body: Told


def _form(kind: Kind, written: type[Body]) -> Any:
    """A Rest for records of this kind: with the members that the writer may write, of whatever length."""
    hints = get_type_hints(written)
    members = [(field.name, hints[field.name], field.default) for field in msgspec.structs.fields(written)]
    body = msgspec.defstruct(
        f"{written.__name__}Told", members, bases=(Told,), forbid_unknown_fields=True, kw_only=True, gc=False
    )
    return msgspec.defstruct(
        f"{written.__name__}Rest",
        [("body", body)],
        bases=(Rest,),
        namespace={"kind": str(kind)},
        tag_field="kind",
        tag=str(kind),
        forbid_unknown_fields=True,
        gc=False,
    )


@cache
def _decoders() -> tuple[Callable[[bytes], list[Times]], Callable[[bytes], list[Rest]]]:
    forms: Any = reduce(or_, [_form(kind, written) for kind, written in FORMS.items()])
    return msgspec.json.Decoder(Times).decode_lines, msgspec.json.Decoder(forms).decode_lines


_encode_lines: Final = msgspec.json.Encoder().encode_lines


def _columns(inners: Sequence[bytes]) -> Columns:
    """All at once, a line for each: written again they give the same bytes only if each line is one object."""
    decode_times, decode_rest = _decoders()
    parts = [inner.partition(_KIND) for inner in inners]
    moments = b"{" + b"}\n{".join([before for before, _, _ in parts]) + b"}\n"
    told = b'{"kind":"' + b'}\n{"kind":"'.join([after for _, _, after in parts]) + b"}\n"
    times, rest = decode_times(moments), decode_rest(told)
    if len(times) != len(rest) or _encode_lines(times) != moments or _encode_lines(rest) != told:
        raise ValueError("a line is not in its one spelling")
    kinds, bodies = [each.kind for each in rest], [each.body for each in rest]
    return Columns(
        [each.t for each in times],
        [each.mono for each in times],
        kinds,
        bodies,
        [getattr(body, "decision", None) for kind, body in zip(kinds, bodies, strict=True) if kind == "outcome"],
        formed=True,
        sealed=CAPTURE.encode() in told,
    )


CODEC: Final = Codec(_columns)
