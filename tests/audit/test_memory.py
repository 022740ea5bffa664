"""A thief of the running writer's memory finds the key of the next record, and of none before."""

from __future__ import annotations

import base64
import mmap
import os
import subprocess
import sys
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest

from router.audit.format import ratchet, seal
from router.audit.format.layout import log_of
from tests.audit.ledgers import fields, reviewer, vkey

COUNT = 40


def readable(memory: FileIO, low: int, high: int) -> bytes:
    """All that can be read there: the C library may keep a guard, which cannot, at a stack's end (glibc 2.42 does)."""
    found = []
    for place in range(low, high, mmap.PAGESIZE):
        memory.seek(place)
        with suppress(OSError):
            found.append(memory.read(mmap.PAGESIZE))
    return b"".join(found)


def writable_memory(pid: int) -> bytes:
    """Everything that the process could have written, heap and stacks of all threads."""
    found = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" not in rights or "[vvar" in line:
                continue
            low, high = (int(part, 16) for part in span.split("-"))
            found.append(readable(memory, low, high))
    return b"\0".join(found)


def test_used_keys_are_gone_from_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.audit.writer_process", str(tmp_path), str(COUNT), "wait"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # noqa: TID251 - a tracer keeps frames, and with them keys, alive
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=alone) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "ready\n":
                    break
            memory = writable_memory(process.pid)
        except PermissionError:
            pytest.skip("this machine does not let us read the memory of our own child")
        finally:
            process.kill()
    log, records = log_of(vkey(tmp_path).name), fields(tmp_path)
    epochs = [record for record in records if record["kind"] == "key_epoch"]
    assert len(epochs) > 2  # segments turned, so did keys
    for first, following in zip(epochs, [*epochs[1:], None], strict=True):
        sealed = base64.b64decode(first["body"]["sealed"])
        key = reviewer(tmp_path).open(sealed, seal.epoch_info(log, first["epoch"]))
        end = following["i"] if following is not None else len(records)
        bound = ratchet.context(log, first["epoch"])
        for index in range(first["i"], end):
            assert key not in memory, f"the key of record {index} is still there"
            key, mac_key = ratchet.step(key, bound, index)
            assert mac_key not in memory, f"the MAC key of record {index} is still there"
        assert (key in memory) == (following is None)  # of a running epoch the next key is there: the scan finds keys
