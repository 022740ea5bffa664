"""A program's output is kept within bounds, for its owner alone."""

from __future__ import annotations

from pathlib import Path

from router.supervisor.output import Output, older, tail


def test_two_halves_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with Output(path, half_bytes=100) as output:
        for number in range(100):
            output.write(f"line {number:04}\n".encode())
        output.say("enough")
    assert path.stat().st_size + older(path).stat().st_size <= 200
    assert path.stat().st_mode & 0o777 == 0o600
    assert tail(path, 3) == ["line 0098", "line 0099", "ringfence: enough"]
    assert len(tail(path, 1000)) > 10
    with Output(path, half_bytes=100) as output:  # what was there counts
        output.write(b"x" * 99 + b"\n")
    assert tail(path, 1) == ["x" * 99]


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    with Output(tmp_path / "a.log") as output:
        output._file.close()
        with Path("/dev/full").open("ab", buffering=0) as full:
            output._file = full
            output.write(b"lost\n")
            output._file = (tmp_path / "a.log").open("ab", buffering=0)
        output.write(b"kept\n")
    assert tail(tmp_path / "a.log", 9) == ["kept"]
