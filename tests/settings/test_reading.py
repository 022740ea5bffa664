"""Files that are none, that are not ours to trust, or that somebody else may touch: named, and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from router.settings.findings import SettingsError
from router.settings.load import load
from tests.settings.conftest import Write, as_ordinary_user, refused, taken
from tests.settings.examples import complete


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)[0].message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    found = refused(tmp_path / "no.yaml")
    assert str(found[0]).startswith(f"{tmp_path / 'no.yaml'}:1:1: the file cannot be read: No such file")


def test_a_file_that_everybody_may_write_is_refused(write: Write) -> None:
    path = write("version: 1\n")
    path.chmod(0o646)
    assert "written by everybody" in refused(path)[0].message


def test_an_unreadable_file_is_refused(write: Write) -> None:
    path = write("version: 1\n")
    path.chmod(0)
    with as_ordinary_user():
        found = refused(path)
    assert "Permission denied" in found[0].message
    assert "service's user" in found[0].hint


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_bytes(b"version: 1\n# \xff\n")
    found = refused(path)
    assert (found[0].line, found[0].message) == (2, "the file is not UTF-8 text")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    path.write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    assert "larger than" in refused(path)[0].message


def test_a_fifo_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    os.mkfifo(path)
    assert "not a regular file" in refused(path)[0].message


def test_a_link_inside_its_directory_is_taken_and_one_out_of_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "real.yaml").write_text("version: 1\n")
    (tmp_path / "elsewhere.yaml").write_text("version: 1\n")
    inside, outside = tmp_path / "here" / "in.yaml", tmp_path / "here" / "out.yaml"
    inside.symlink_to("real.yaml")
    outside.symlink_to(tmp_path / "elsewhere.yaml")
    taken(inside)
    assert "leads out of its directory" in refused(outside)[0].message


def test_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiers.yaml").symlink_to("tiers.yaml")
    assert "leads back to itself" in refused(tmp_path / "tiers.yaml")[0].message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_touch_is_refused_and_its_text_not_shown(tmp_path: Path, mode: int) -> None:
    path = complete(tmp_path)
    (tmp_path / "space.key").chmod(mode)
    found = refused(path)
    assert [(one.key, "chmod 600" in one.hint) for one in found] == [("upstreams.space.key_file", True)]
    assert "hf_token" not in str(found)


def test_a_key_file_holds_one_token(tmp_path: Path) -> None:
    path = complete(tmp_path)
    (tmp_path / "space.key").write_text("two words")
    assert stat.S_IMODE((tmp_path / "space.key").stat().st_mode) == 0o600
    found = refused(path)
    assert "does not hold one token" in found[0].message
    assert "two words" not in str(found)


@pytest.mark.parametrize("begun", ["in it", "elsewhere"])
def test_a_path_that_is_no_text_is_refused(begun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be handed on to the gate and the workers."""
    directory = tmp_path / "d\udcff"
    directory.mkdir()
    (directory / "policy.yaml").write_text("version: 1\n")
    monkeypatch.chdir(directory if begun == "in it" else tmp_path)
    config = Path("policy.yaml") if begun == "in it" else directory / "policy.yaml"
    with pytest.raises(SettingsError, match="is not UTF-8"):
        load(config, {})
