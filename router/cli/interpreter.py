"""Which Python this is: one built without profile-guided optimisation (PGO) makes each request dearer.

CPython's `configure --enable-optimizations` builds it twice, the second time by the profile of the first. Distributions
do so by themselves, pyenv does not unless it is asked.
"""

from __future__ import annotations

import mmap
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

SYSTEM: Final = "/usr"  # where distributions install theirs, built by rules of their own
THOROUGH: Final = frozenset({"debian", "ubuntu", "fedora", "rhel", "centos", "arch", "suse", "opensuse", "alpine"})
FLAGS: Final = re.compile(rb"GNU C\d+ [^\0]*")  # in debug information, by GCC: its flags (-grecord-gcc-switches)
USED: Final = re.compile(r"-fprofile(?:-instr)?-use")
DEARER: Final = "a request costs more CPU than on an optimised build"
NEWER: Final = "It may serve with less CPU, and takes more memory (docs/performance.md)"
REMEDY: Final = (
    "make clean && make serve PYTHON=/usr/bin/python3, or with pyenv: "
    "PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' pyenv install --force VERSION"
)
# Minor versions that are tested, and may serve with less CPU than older ones (docs/performance.md).
CHEAPER: Final = (14, 13)


class Interpreter(Struct, frozen=True):
    """`optimised`: by a profile; None where it cannot be told. `why` says how it is known. `newer`: the name of a newer
    one that the shell finds, "" where there is none.
    """

    version: str
    compiler: str
    optimised: bool | None
    why: str
    newer: str = ""

    def lines(self) -> list[str]:
        """For people. Nothing is advised that is not known."""
        how = {True: "optimised by a profile", False: "not optimised by a profile", None: "optimised or not: unknown"}
        told = [f"Python {self.version} ({self.compiler}): {how[self.optimised]} ({self.why})"]
        if self.optimised is False:
            told.append(f"  {DEARER}: {REMEDY}")
        if self.newer:
            told.append(f"  {self.newer} is here too. {NEWER}: make clean && make serve PYTHON={self.newer}")
        return told


def this_interpreter() -> Interpreter:
    """Of this process."""
    build = sysconfig.get_config_vars()
    if sys.base_prefix == SYSTEM:
        optimised, why = of_distribution(_distribution())
    else:
        optimised, why = verdict(build, recorded_flags(_library(build)))
    return Interpreter(
        platform.python_version(), platform.python_compiler(), optimised, why, newer(sys.version_info[1])
    )


def newer(than: int) -> str:
    """The newest of CHEAPER that is newer than 3.`than`, and starts: the name of a version that is not there may be a
    shim of pyenv's.
    """
    names = (f"python3.{minor}" for minor in CHEAPER if minor > than)
    return next((name for name in names if shutil.which(name) and _starts(name)), "")


def _starts(name: str) -> bool:
    return subprocess.run([name, "-c", ""], capture_output=True, check=False).returncode == 0


def of_distribution(names: Collection[str]) -> tuple[bool | None, str]:
    """Of the system's own Python: its configuration does not say so everywhere, but some are known to do it."""
    known = sorted(THOROUGH.intersection(names))
    if known:
        return True, f"the system's own, as {known[0]} builds it"
    return None, "the system's own, built by its distribution's rules"


def verdict(build: Mapping[str, object], recorded: str) -> tuple[bool | None, str]:
    """By what `configure` was told (CONFIG_ARGS), by the compiler's flags, and by what those of the binary say of
    themselves. "Not optimised" is said only where the binary bears it out: some call `make profile-opt` by hand.
    """
    if "--enable-optimizations" in str(build.get("CONFIG_ARGS") or ""):
        return True, "configured with --enable-optimizations"
    flags = " ".join(str(build.get(name) or "") for name in ("PY_CORE_CFLAGS", "CONFIGURE_CFLAGS_NODIST", "CFLAGS"))
    if USED.search(flags) or USED.search(recorded):
        return True, "compiled with -fprofile-use"
    if not recorded:
        return None, "not configured with --enable-optimizations, and its binary does not say how it was compiled"
    return False, "neither configured with --enable-optimizations nor compiled with -fprofile-use"


def recorded_flags(library: Path) -> str:
    """The flags of all compilation units that tell them; "" where none does, as in a stripped binary."""
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return " ".join(sorted({found[0].decode("ascii", "replace") for found in FLAGS.finditer(content)}))
    except (OSError, ValueError):  # not there, or empty
        return ""


def _distribution() -> list[str]:
    """Its name, and those of which it is a kind (os-release(5))."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return []
    return [release.get("ID", ""), *release.get("ID_LIKE", "").split()]


def _library(build: Mapping[str, object]) -> Path:
    """The shared library that holds the interpreter, or the program itself."""
    if build.get("Py_ENABLE_SHARED"):
        return Path(str(build.get("LIBDIR"))) / str(build.get("INSTSONAME"))
    return Path(sys.executable).resolve()
