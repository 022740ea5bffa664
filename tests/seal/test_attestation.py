"""What is concluded from what was tried."""

from __future__ import annotations

import msgspec
import pytest

from router.channel.seal_told import log_seal
from router.logs import Log
from router.seal.attestation import Attempt, Attestation, Part, PathFile, Result

S, L, N = Part.SECCOMP, Part.LANDLOCK, Part.NETNS


def attestation(installed: tuple[Part, ...], escaped: tuple[Part, ...] = (), profile: str = "worker") -> Attestation:
    attempts = [Attempt("held", part, Result.BLOCKED, "EPERM") for part in installed]
    attempts += [Attempt("through", part, Result.ESCAPED) for part in escaped]
    return Attestation(profile, 1, "x86_64", "6.1", 7, installed, tuple(attempts), notes=("a note",))


@pytest.mark.parametrize(
    ("installed", "escaped", "level", "seal"),
    [
        ((), (), "none", "none"),
        ((S,), (), "seccomp", "seccomp"),
        ((S, L), (), "landlock", "seccomp+landlock"),
        ((S, L, N), (), "netns", "seccomp+landlock+netns"),
        ((L, N), (), "none", "landlock+netns"),
        ((S, N), (), "seccomp", "seccomp+netns"),
        ((S, L, N), (S,), "none", "landlock+netns"),
        ((S, L, N), (L,), "seccomp", "seccomp+netns"),
        ((S, L, N), (N,), "landlock", "seccomp+landlock"),
    ],
)
def test_a_part_counts_when_nothing_got_through_it(
    installed: tuple[Part, ...], escaped: tuple[Part, ...], level: str, seal: str
) -> None:
    found = attestation(installed, escaped)
    assert (found.level, found.seal) == (level, seal)


@pytest.mark.parametrize(
    ("profile", "required", "missing"),
    [
        ("worker", (), ()),
        ("worker", ("seccomp", "landlock"), ("landlock",)),
        ("worker", ("netns",), ("netns",)),
        ("gate", ("netns",), ()),
        ("gate", ("seccomp", "landlock", "netns"), ("landlock",)),
    ],
)
def test_what_is_required_and_missing(profile: str, required: tuple[str, ...], missing: tuple[str, ...]) -> None:
    found = attestation((S,), profile=profile)
    assert found.missing(required) == missing
    assert bool(found.shortfall(required)) == bool(missing)


def test_the_shortfall_says_what_got_through() -> None:
    assert attestation((S,), (S,)).shortfall(("seccomp",)) == (
        "the worker's seal lacks seccomp, which require_seal asks for (a note; got through: through). "
        "Run 'ringfence doctor' here, or ask for less."
    )


def test_it_travels_as_json() -> None:
    found = Attestation(
        "gate", 7, "aarch64", "6.18", 7, (S, L), (Attempt("E9_inet", S, Result.BLOCKED, "EPERM"),), ("a note",), 2,
        (PathFile("a.pth", "00"),), ("LANG",),
    )  # fmt: skip
    assert Attestation.from_json(found.to_json()) == found
    with pytest.raises((KeyError, ValueError)):
        Attestation.from_json("{}")


@pytest.mark.parametrize(
    ("installed", "escaped", "event", "state", "reason"),
    [
        ((S, L), (), "sealed", "seccomp+landlock", "a note"),
        ((), (), "not_sealed", "none", "a note"),
        ((S,), (S,), "not_sealed", "none", "a note; through got through"),
    ],
)
def test_the_log_says_it_whichever_way(
    capsys: pytest.CaptureFixture[str], installed: tuple[Part, ...], escaped: tuple[Part, ...],
    event: str, state: str, reason: str,
) -> None:  # fmt: skip
    log_seal(attestation(installed, escaped), Log("gate"))
    line = msgspec.json.decode(capsys.readouterr().err)
    assert {name: line[name] for name in ("event", "state", "reason", "pid")} == {
        "event": event, "state": state, "reason": reason, "pid": 1,
    }  # fmt: skip
