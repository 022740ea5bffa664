"""How an engine's command is wrapped."""

from __future__ import annotations

import sys
from pathlib import Path

from router.supervisor.cage import Cage, caged

LAUNCHER = [sys.executable, "-I", "-m", "router.seal", "--profile", "engine"]
END = ["--hold", "7", "--report", "8", "--", "engine", "--flag"]


def test_a_packaged_model_needs_no_room_of_its_own() -> None:
    cage = Cage(["package:llm-small"], "", Path("/state"), 7, 8, ())
    assert caged(["engine", "--flag"], cage) == [*LAUNCHER, "--write", "/state", *END]


def test_linked_weights_may_be_read_where_they_are_and_where_they_point(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "names").mkdir()
    (tmp_path / "blobs" / "00").write_bytes(b"GGUF")
    model = tmp_path / "names" / "model.gguf"
    model.symlink_to(tmp_path / "blobs" / "00")
    cage = Cage(
        [str(model), str(tmp_path / "names" / "adapter.gguf")],
        str(tmp_path / "key"),
        Path("/state"),
        7,
        8,
        ("seccomp", "netns"),
    )
    reads = ["--read", str(tmp_path / "names"), "--read", str(tmp_path / "blobs"), "--read", str(tmp_path / "key")]
    required = ["--require", "seccomp", "--require", "netns"]
    assert caged(["engine", "--flag"], cage) == [*LAUNCHER, *reads, "--write", "/state", *required, *END]
