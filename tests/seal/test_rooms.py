"""What goes on working in a sealed process, and what its room keeps it from."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from router.seal.landlock import LATER_RIGHTS, handled, lacking, version
from router.seal.rooms import loader_of
from tests.seal.experiments import CHECKOUT

pytestmark = pytest.mark.skipif(version() == 0, reason="this kernel has no Landlock, or it is switched off")

PROLOGUE = """
import json, os, socket, ssl, sys
from pathlib import Path
from router.gate.tls import authority_files
from router.seal.enclose import Plan, begin, enclose
from router.seal.profiles import Profile
from router.seal.rooms import room_of

def tried(action):
    try:
        return action() or "done"
    except OSError as error:
        return type(error).__name__

begin()
profile, write = Profile(sys.argv[1]), tuple(sys.argv[2:])
attestation = enclose(Plan(profile, room_of(profile, read=authority_files(), write=write)))
assert not attestation.escaped, attestation.escaped
"""


def test_a_program_is_started_by_the_loader_that_it_names(tmp_path: Path) -> None:
    (loader,) = loader_of(Path(sys.executable).resolve())
    assert os.access(loader, os.X_OK)
    moved = (
        Path(sys.executable)
        .resolve()
        .read_bytes()
        .replace(loader.encode() + b"\0", b"/nix" + loader[4:].encode() + b"\0")
    )
    (tmp_path / "moved").write_bytes(moved)
    assert loader_of(tmp_path / "moved") == (f"/nix{loader[4:]}",)
    for name, content in (("script", b"#!/bin/sh\n"), ("empty", b""), ("other", b"\x7fELF\x01\x01" + bytes(60)),
                          ("without", b"\x7fELF\x02\x01" + bytes(60))):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert loader_of(tmp_path / name) == ()
    assert loader_of(tmp_path / "none") == ()


def in_a_room(profile: str, program: str, *write: Path) -> dict[str, str]:
    """What `program` put into `found`."""
    code = f"{PROLOGUE}\nfound = {{}}\n{program}\nprint(json.dumps(found))"
    ended = subprocess.run(
        [sys.executable, "-c", code, profile, *map(str, write)], cwd=CHECKOUT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, str] = json.loads(ended.stdout)
    return answer


def test_a_worker_goes_on_working() -> None:
    """Late imports, tracebacks with source lines, time zones, encodings, its own status, threads, temporary pairs."""
    found = in_a_room("worker", """
import traceback, threading, zoneinfo
import email.mime.text, sqlite3, xml.etree.ElementTree, starlette.staticfiles
found["encoding"] = "münchen".encode("idna").decode()
try:
    json.loads("{")
except ValueError:
    found["traceback"] = str("scan_once(s, idx)" in traceback.format_exc())
found["zone"] = tried(lambda: str(zoneinfo.ZoneInfo("Europe/Zurich"))) if Path("/usr/share/zoneinfo").exists() else "-"
found["status"] = str("Seccomp" in Path("/proc/self/status").read_text())
found["pair"] = tried(lambda: [end.close() for end in socket.socketpair()] and None)
thread = threading.Thread(target=lambda: found.update(thread="ran"))
thread.start(); thread.join()
found["getaddrinfo"] = tried(lambda: socket.getaddrinfo("name.invalid", 80))
""")  # fmt: skip
    assert found.pop("zone") in {"-", "Europe/Zurich"}
    assert found == {
        "encoding": "xn--mnchen-3ya", "traceback": "True", "status": "True", "pair": "done", "thread": "ran",
        "getaddrinfo": "gaierror",
    }  # fmt: skip


def test_a_worker_reads_its_own_files_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("secret")
    found = in_a_room("worker", f"""
place = Path({str(tmp_path)!r})
found["code"] = tried(lambda: str(len(Path(sys.modules["router.seal.enclose"].__file__).read_bytes()) > 0))
found["others"] = tried(lambda: (place / "prompt").read_text())
found["parent_memory"] = tried(lambda: Path(f"/proc/{{os.getppid()}}/environ").read_text())
found["new"] = tried(lambda: (place / "new").write_text("x"))
found["folder"] = tried(lambda: (place / "folder").mkdir())
found["gone"] = tried(lambda: (place / "prompt").unlink())
found["moved"] = tried(lambda: (place / "prompt").rename(place / "other") and None)
found["cut"] = tried(lambda: os.truncate(place / "prompt", 0))
found["linked"] = tried(lambda: (place / "link").symlink_to("/etc"))
found["null"] = tried(lambda: open("/dev/null", "w").close())
""")  # fmt: skip
    assert found.pop("code") == "True"
    assert set(found.values()) == {"PermissionError"}, found
    assert [path.name for path in tmp_path.iterdir()] == ["prompt"]


def test_the_gate_resolves_verifies_dials_and_keeps_its_ledger(tmp_path: Path) -> None:
    ledger, engines = tmp_path / "ledger", tmp_path / "engines"
    ledger.mkdir()
    engines.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(engines / "small.sock"))
        unix.listen()
        found = in_a_room("gate", f"""
found["hosts"] = str(("127.0.0.1", 80) in [entry[4] for entry in socket.getaddrinfo("localhost", 80, socket.AF_INET)])
found["unknown"] = tried(lambda: socket.getaddrinfo("name.invalid.", 80))
found["authorities"] = str(ssl.create_default_context().cert_store_stats()["x509_ca"] >= 0)
found["tcp"] = tried(lambda: socket.create_connection(("127.0.0.1", {tcp.getsockname()[1]})).close())
found["engine"] = tried(lambda: socket.socket(socket.AF_UNIX).connect({str(engines / "small.sock")!r}))
reading, writing = os.pipe()
os.write(writing, b"a key for OpenSSL")
os.close(writing)
found["pipe"] = tried(lambda: Path(f"/proc/self/fd/{{reading}}").read_text())
place = Path({str(ledger)!r})
found["ledger"] = tried(lambda: (place / "segments").mkdir() or (place / "segments" / "0").write_text("x") and None)
found["renamed"] = tried(lambda: (place / "segments" / "0").rename(place / "1") and None)
found["removed"] = tried(lambda: (place / "1").unlink())
found["beside"] = tried(lambda: (place.parent / "x").write_text("x"))
found["listen"] = tried(lambda: socket.socket().listen())
found["udp_unix"] = tried(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close())
""", ledger)  # fmt: skip
    refused = {name for name, answer in found.items() if answer == "PermissionError"}
    assert refused == {"beside", "listen", "udp_unix"}
    assert found["unknown"] == "gaierror"
    assert (found["hosts"], found["authorities"]) == ("True", "True")
    assert found["pipe"] == "a key for OpenSSL"
    assert [found[name] for name in ("tcp", "engine", "ledger", "renamed", "removed")] == ["done"] * 5


def test_an_engine_reaches_nobody_even_by_names_it_holds(tmp_path: Path) -> None:
    found = in_a_room("engine", f"""
import subprocess
found["child"] = tried(lambda: subprocess.run([sys.executable, "-c", "import socket; socket.socket()"],
                                              capture_output=True).stderr.decode().splitlines()[-1])
found["shell"] = tried(lambda: subprocess.run(["/bin/sh", "-c", "true"]).returncode and None)
found["state"] = tried(lambda: (Path({str(tmp_path)!r}) / "verdict").write_text("x") and None)
found["cpus"] = str(os.cpu_count() > 0)
""", tmp_path)  # fmt: skip
    assert found == {
        "child": "PermissionError: [Errno 1] Operation not permitted", "shell": "PermissionError", "state": "done",
        "cpus": "True",
    }  # fmt: skip


def test_a_newer_kernels_rights_are_used_and_an_older_ones_gaps_are_said() -> None:
    assert handled(1) == ((1 << 13) - 1, 0, 0)
    assert handled(4) == ((1 << 15) - 1, 3, 0)
    assert handled(7) == handled(99) == ((1 << 16) - 1, 3, 3)
    assert [len(lacking(abi)) for abi in (1, 2, 3, 4, 5, 6, 7)] == [4, 4, 3, 2, 1, 0, 0]
    assert set(LATER_RIGHTS) == {2, 3, 5}
