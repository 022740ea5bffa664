"""What control groups leave to this process: its own and every one around it, version 2 or 1 (cgroups(7))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as a huge number of bytes."""


def cores(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota, in cores; None without one."""
    quotas = [quota for folder in _folders(root, "cpu") if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def memory(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Bytes: the smallest limit, and the least that any group still has to give. None without a limit."""
    limits: list[int] = []
    left: list[int] = []
    for folder in _folders(root, "memory"):
        limit = _first(folder, "memory.max", "memory.limit_in_bytes")
        used = _first(folder, "memory.current", "memory.usage_in_bytes")
        if limit is None or limit >= UNLIMITED:
            continue
        limits.append(limit)
        if used is not None:
            left.append(max(0, limit - used + _cached(folder)))
    return min(limits, default=None), min(left, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The process's groups from the inside out. In a container its own group is the root of what it sees."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and controller not in controllers.split(","):
            continue
        start = base if number == "0" else base / controller
        folder = start / path.strip("/")
        while folder != start and start in folder.parents:
            yield folder
            folder = folder.parent
        yield start


def _quota(folder: Path) -> float | None:
    """`cpu.max` holds quota and period in one file, version 1 in two; both in microseconds."""
    words = _text(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()]
    if not all(word.isascii() and word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _cached(folder: Path) -> int:
    """Pages of files count as used, but the kernel gives them back under pressure."""
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0


def _first(folder: Path, *names: str) -> int | None:
    texts = (_text(folder / name).strip() for name in names)
    return next((int(text) for text in texts if text.isascii() and text.isdigit()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
