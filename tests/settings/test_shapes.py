"""The reader of shapes: what it takes and what it says; msgspec's own strict conversion is the second opinion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, field

from router.settings.durations import parse_duration
from router.settings.model import SettingsFile
from router.settings.reading import Kind, Mistake, keys_of, read
from router.settings.strict import Before, Duration, Strict

BARE: dict[str, Any] = {"name": "a", "hosts": ("h",)}


class Inner(Strict, frozen=True, forbid_unknown_fields=True):
    on: bool = False
    mode: Literal["a", "b"] = "a"


class Outer(Strict, frozen=True, forbid_unknown_fields=True):
    """One key of each kind that policy files have."""

    name: Annotated[str, Meta(pattern="^[a-z]{1,3}$", description="A name.")]
    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    port: Annotated[int, Meta(ge=0, le=9)] = 5
    share: Annotated[float, Meta(ge=0, lt=1)] | None = None
    version: Literal[1, 2] = 1
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = field(default_factory=dict)
    file: str | None = None
    again: Annotated[bool, Meta(description="Once more.")] = field(default=False, name="continue")


class Timed(Strict, frozen=True):
    after: Annotated[Duration, Meta(gt=0)] = 1.0
    until: Annotated[Duration | None, Meta(ge=1)] = None
    inner: Annotated[Inner, Before(lambda value: {"on": True} if value == "on" else value)] | None = None


@pytest.mark.parametrize(
    ("written", "path", "sentence"),
    [
        ({"name": 1}, ("name",), "must be text (put it in quotes)"),
        ({"name": "\udcff"}, ("name",), "must be text in UTF-8"),
        ({"name": "abcd"}, ("name",), "must have the form ^[a-z]{1,3}$"),
        ({"name": "a\n"}, ("name",), "must have the form ^[a-z]{1,3}$"),
        ({"hosts": ["a"]}, ("hosts",), "must be a list: [a, b]"),
        ({"hosts": ()}, ("hosts",), "needs at least 1 item(s)"),
        ({"hosts": ("a", 1)}, ("hosts", 1), "must be text (put it in quotes)"),
        ({"port": True}, ("port",), "must be a whole number"),
        ({"port": 5.0}, ("port",), "must be a whole number"),
        ({"port": -1}, ("port",), "must be at least 0"),
        ({"port": 10}, ("port",), "must be at most 9"),
        ({"share": "1"}, ("share",), "must be a number"),
        ({"share": True}, ("share",), "must be a number"),
        ({"share": 1}, ("share",), "must be less than 1.0"),
        ({"version": True}, ("version",), "must be 1 or 2"),
        ({"version": "1"}, ("version",), "must be 1 or 2"),
        ({"inner": None}, ("inner",), "must hold keys and values"),
        ({"inner": {"on": 1}}, ("inner", "on"), "must be true or false"),
        ({"inner": {"mode": "c"}}, ("inner", "mode"), "must be 'a' or 'b'"),
        ({"many": ({}, {"on": None})}, ("many", 1, "on"), "must be true or false"),
        ({"named": ()}, ("named",), "must hold keys and values"),
        ({"named": {"x": {"mode": 1}}}, ("named", "x", "mode"), "must be 'a' or 'b'"),
        ({"continue": "yes"}, ("continue",), "must be true or false"),
    ],
)
def test_one_mistake_is_told_with_its_place(
    written: dict[str, Any], path: tuple[str | int, ...], sentence: str
) -> None:
    reading = read(Outer, {**BARE, **written})
    assert reading.value is None
    assert reading.mistakes == (Mistake(path, Kind.VALUE, sentence),)


def test_all_mistakes_are_told_in_the_order_of_the_shape_and_unknown_keys_last() -> None:
    reading = read(Outer, {"zzz": 1, "port": "x", "written": (), "inner": {"of": True, "on": 1}, "hosts": ("a",)})
    assert [(mistake.path, mistake.kind) for mistake in reading.mistakes] == [
        (("name",), Kind.MISSING),
        (("port",), Kind.VALUE),
        (("inner", "on"), Kind.VALUE),
        (("inner", "of"), Kind.UNKNOWN),
        (("zzz",), Kind.UNKNOWN),
        (("written",), Kind.UNKNOWN),
    ]
    assert reading.mistakes[3].known == ("on", "mode")


def test_what_is_written_is_known_from_what_is_left_away() -> None:
    reading = read(Outer, {**BARE, "port": 5, "continue": False, "inner": {}})
    assert reading.value is not None
    assert reading.value.written == {"name", "hosts", "port", "again", "inner"}
    assert reading.value == Outer(**BARE)
    assert reading.value != Outer(**BARE, inner=Inner(on=True))
    assert reading.value != Timed()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({}, Timed()),
        ({"after": "2s", "until": "1m"}, Timed(after=2.0, until=60.0)),
        ({"until": None, "inner": None}, Timed()),
        ({"inner": "on"}, Timed(inner=Inner(on=True))),
        ({"inner": {"mode": "b"}}, Timed(inner=Inner(mode="b"))),
    ],
)
def test_short_forms_mean_what_they_stand_for(written: dict[str, Any], value: Timed) -> None:
    assert read(Timed, written).value == value


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"after": "0s"}, "must be more than 0.0"),
        ({"until": "500ms"}, "must be at least 1.0"),
        ({"after": 2}, "write a time as a number with its unit: 500ms, 2s, 3m, 12h or 1d"),
        ({"inner": "off"}, "must hold keys and values"),
    ],
)
def test_a_wrong_short_form_is_one_mistake(written: dict[str, Any], sentence: str) -> None:
    assert [mistake.sentence for mistake in read(Timed, written).mistakes] == [sentence]


def test_which_keys_are_times() -> None:
    assert [key.name for key in keys_of(Timed).values() if key.is_time] == ["after", "until"]
    assert not any(key.is_time for key in keys_of(Outer).values())
    assert parse_duration("2s") == 2.0


def test_every_key_of_the_policy_file_says_what_it_is_for() -> None:
    shapes: list[type[Strict]] = [SettingsFile]
    for shape in shapes:
        for key in keys_of(shape).values():
            assert key.meta.description or key.attribute == "url", (shape, key.name)
            if isinstance(key.default, Strict):
                shapes.append(type(key.default))
    assert len(shapes) > 4


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 12), st.sampled_from([0.0, 0.5, 1.0, 2.5, "a", "b", "abcd", ""])
)
INNER = st.one_of(SCALARS, st.dictionaries(st.sampled_from(["on", "mode", "z"]), SCALARS, max_size=2))
VALUES = st.one_of(
    SCALARS, INNER, st.lists(INNER, max_size=2).map(tuple), st.dictionaries(st.sampled_from("xy"), INNER, max_size=2)
)
TREES = st.dictionaries(st.sampled_from([*keys_of(Outer), "zzz"]), VALUES, max_size=5)


@given(TREES.map(lambda tree: {**BARE, **tree}))
def test_msgspec_judges_the_same(tree: dict[str, Any]) -> None:
    """Its strict conversion stops at the first mistake; what it takes, and as what, is the same.

    But it takes 5.0 as a whole number, which no policy file means by it.
    """
    reading = read(Outer, tree)
    try:
        value = msgspec.convert(tree, Outer)
    except msgspec.ValidationError:
        assert reading.mistakes
        return
    if isinstance(tree.get("port"), float):
        assert [mistake.path for mistake in reading.mistakes] == [("port",)]
        return
    assert reading.value == value
