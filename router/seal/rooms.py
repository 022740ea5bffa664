"""Which files each kind of process needs: its own code, its libraries, and little else."""

from __future__ import annotations

import base64
import json
import os
import site
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from router.seal.landlock import Room, joined
from router.seal.profiles import Profile

PACKAGES: Final = ("router", "policies", "local_engine")
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store")
SYSTEM: Final = (
    *LIBRARIES,
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/dev/null",
    "/dev/urandom",
    "/sys/devices/system/cpu",
    "/proc/self",
    "/proc/sys/kernel/random/boot_id",  # which start of the machine a record was written in
)
RESOLVER: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/run/systemd/resolve",  # where resolv.conf points to with systemd-resolved
)
AUTHORITIES: Final = ("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/lib/ssl")
ENGINE_SYSTEM: Final = ("/proc", "/sys/devices/system/node", "/sys/devices/system/cpu", "/sys/fs/cgroup")
PROGRAM_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
PROGRAM_FACTS: Final = (
    *("/proc", "/sys", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/mime.types"),
    *("/etc/vulkan", "/etc/OpenCL", "/etc/nvidia", "/etc/machine-id"),
)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/dri", "/dev/kfd")
GPU_DEVICES: Final = ("nvidia*", "accel/accel*")  # below /dev
PROGRAM_HEADER: Final = 56  # bytes
PT_INTERP: Final = 3  # a program header: the path of the loader
LOADERS: Final = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1")


def room_of(
    profile: Profile, *, write: tuple[str, ...] = (), read: tuple[str, ...] = (), bind: tuple[int, ...] = ()
) -> Room:
    """The room of a process of this kind; `write` and `read` are what this installation adds, and for a program the
    ports to `bind` where it has no network of its own.
    """
    own = Room(read=(*_code(), *SYSTEM, *read), listed=_import_places(), write=(*write, *coverage_directories()))
    match profile:
        case Profile.WORKER:
            return own
        case Profile.GATE:
            return joined(own, Room(read=(*RESOLVER, *AUTHORITIES), tcp=True))
        case Profile.ENGINE:
            return joined(own, Room(read=ENGINE_SYSTEM, write=("/dev/null",), execute=_interpreters()))
        case Profile.PROGRAM:
            return _of_a_program(own, read, write)._replace(bind=bind)


def _of_a_program(own: Room, read: tuple[str, ...], write: tuple[str, ...]) -> Room:
    """Its launcher's room, the system's programs and libraries, what it was given, and the graphics cards. What it may
    read it may run: it could interpret it as well.
    """
    cards = tuple(str(path) for pattern in GPU_DEVICES for path in sorted(Path("/dev").glob(pattern)))
    system = Room(
        read=(*PROGRAM_FACTS, *RESOLVER, *AUTHORITIES), execute=(*PROGRAM_SYSTEM, *_interpreters(), *read),
        own=write, devices=(*DEVICES, *cards),
    )  # fmt: skip
    return joined(own._replace(write=coverage_directories()), system)


def _code() -> tuple[str, ...]:
    """Python, its library, the installed packages and this one, wherever they lie. Imports go on working."""
    checkout = Path(__file__).resolve().parents[2]
    return (
        sys.prefix,
        sys.base_prefix,
        sys.base_exec_prefix,
        str(Path(os.__file__).parent),
        *site.getsitepackages(),
        *_linked(),
        *(str(checkout / package) for package in PACKAGES),
    )


def _linked() -> tuple[str, ...]:
    """Where packages lie that the environment only links to, each whole or file by file, as some installers do."""
    places = {_behind(entry) for packages in site.getsitepackages() for entry in _entries(packages)}
    return tuple(sorted(places - {""}))


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as found:
        return list(found)
    return []


def _behind(entry: os.DirEntry[str]) -> str:
    """Where the entry, or its first file, is a link to. "" if it is none."""
    if entry.is_symlink():
        return os.path.realpath(entry.path)
    first = f"{entry.path}/__init__.py"
    if entry.name.endswith(".libs"):
        first = next((file.path for file in _entries(entry.path)), first)
    return str(Path(first).resolve().parent) if os.path.islink(first) else ""  # noqa: PTH114 - a Path for each is dearer


def _import_places() -> tuple[str, ...]:
    return tuple(path for path in sys.path if path)


def _interpreters() -> tuple[str, ...]:
    own = Path(sys.executable).resolve()
    return (sys.executable, str(own), *loader_of(own), *LOADERS)


def loader_of(program: Path) -> tuple[str, ...]:
    """What the kernel starts this program with (elf(5): PT_INTERP), wherever the system keeps it; none if none, or if
    the program may be run and not read.
    """
    try:
        return _named_in(program)
    except OSError:
        return ()


def _named_in(program: Path) -> tuple[str, ...]:
    with program.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":  # of 64 bits, little-endian
            return ()
        table, size, count = struct.unpack_from("<Q14xHH", head, 32)
        file.seek(table)
        segments = file.read(size * count)
        for place in range(0, len(segments), max(size, PROGRAM_HEADER)):
            kind, start, length = struct.unpack_from("<I4xQ16xQ", segments, place)
            if kind == PT_INTERP:
                file.seek(start)
                return (os.fsdecode(file.read(length).rstrip(b"\0")),)
    return ()


def coverage_directories() -> tuple[str, ...]:
    """Where coverage.py writes when a process ends, if it measures one of our own test runs: then, and only then,
    is COVERAGE_PROCESS_CONFIG set (or COVERAGE_PROCESS_START, for data in the working directory).
    """
    variables = dict(
        entry.split(b"=", 1) for entry in Path("/proc/self/environ").read_bytes().split(b"\0") if b"=" in entry
    )
    if b"COVERAGE_PROCESS_START" in variables:
        return (str(Path.cwd()),)
    found = variables.get(b"COVERAGE_PROCESS_CONFIG", b"")
    if not found:
        return ()
    try:
        settings = json.loads(base64.b64decode(found))
    except ValueError:
        return ()
    return (str((Path.cwd() / settings["data_file"]).parent),)
