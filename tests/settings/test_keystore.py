"""Keys on a real disk: shown once, stored hashed, never lost by two commands at once."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from policies import Reach
from router.settings import keystore
from router.settings.callers import callers_of
from router.settings.findings import SettingsError
from router.settings.keystore import Ceiling, CeilingConflict

NOW = "2026-01-02T03:04:05Z"


def test_a_key_is_shown_once_and_stored_hashed(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    entry, key = keystore.create(file, "alice", Ceiling("network", ("m", "n")), NOW)
    assert re.fullmatch(r"rf_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key)
    assert key.startswith(f"rf_{entry.id}_")
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert key[12:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keystore.read(file) == (entry,)
    assert callers_of((entry,))["alice"].reach is Reach.NETWORK
    assert callers_of((entry,))["alice"].models == frozenset({"m", "n"})
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


def test_a_second_key_of_a_caller_has_the_same_ceiling(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    keystore.create(file, "alice", Ceiling("host", ("m",)), NOW)
    entry, _ = keystore.create(file, "alice", Ceiling(), NOW)
    assert (entry.reach, entry.models) == ("host", ("m",))
    with pytest.raises(CeilingConflict, match="revoke them first"):
        keystore.create(file, "alice", Ceiling("rented"), NOW)
    with pytest.raises(CeilingConflict):
        keystore.create(file, "alice", Ceiling(None, ("n",)), NOW)
    assert len(keystore.read(file)) == 2


def test_revoking_leaves_the_others_and_an_empty_list_at_last(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    first, _ = keystore.create(file, "alice", Ceiling(), NOW)
    second, _ = keystore.create(file, "bob", Ceiling(), NOW)
    assert keystore.revoke(file, first.id)
    assert keystore.read(file) == (second,)
    assert not keystore.revoke(file, first.id)
    assert keystore.revoke(file, second.id)
    assert keystore.read(file) == ()
    assert file.exists()


@pytest.mark.parametrize(
    ("name", "ceiling"), [("two words", Ceiling()), ("", Ceiling()), ("a\nb", Ceiling()), ("a", Ceiling("far"))]
)
def test_what_is_no_name_or_reach_makes_no_key(tmp_path: Path, name: str, ceiling: Ceiling) -> None:
    file = tmp_path / "keys.yaml"
    with pytest.raises(ValueError, match="must"):
        keystore.create(file, name, ceiling, NOW)
    assert not file.exists()


def test_a_broken_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("- {id: x}\n")
    with pytest.raises(SettingsError, match=r"keys\.yaml:1:"):
        keystore.create(file, "alice", Ceiling(), NOW)
    with pytest.raises(SettingsError):
        keystore.revoke(file, "x")
    assert file.read_text() == "- {id: x}\n"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.yaml"
    entry, _ = keystore.create(file, "alice", Ceiling(), NOW)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        keystore.create(file, "bob", Ceiling(), NOW)
    assert keystore.read(file) == (entry,)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


def test_an_id_that_is_taken_is_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.yaml"
    ids = iter(["00000001", "00000001", "00000002"])
    monkeypatch.setattr("router.settings.keystore.secrets.token_hex", lambda _: next(ids, "aaaaaaaa"))
    monkeypatch.setattr(keystore, "_temporary", lambda path: path.with_name("new"))
    made = [keystore.create(file, name, Ceiling(), NOW)[0].id for name in ("alice", "bob")]
    assert made == ["00000001", "00000002"]


MAKE_FIVE = """
import sys
from pathlib import Path
from router.settings import keystore
for number in range(5):
    keystore.create(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", keystore.Ceiling(), "now")
"""


def test_commands_at_the_same_time_lose_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    processes = [
        subprocess.Popen([sys.executable, "-c", MAKE_FIVE, str(file), name]) for name in ("one", "two", "three")
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert {key.caller for key in keystore.read(file)} == {
        f"{name}-{number}" for name in ("one", "two", "three") for number in range(5)
    }
