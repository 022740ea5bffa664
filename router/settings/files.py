"""Read a settings file only when it is one: a regular file, ours to trust, small, UTF-8, where it seems to be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path as FilePath
from typing import Final

from router.settings.findings import Finding, SettingsError

LARGEST_BYTES: Final = 16 * 1024 * 1024
_READ_OR_WRITTEN_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_text(path: FilePath, *, private: bool = False) -> str:
    """The file's text. SettingsError, with `unreadable` set, names what is wrong with the file.

    `private`: a secret, refused when anybody but its owner may touch it (mode 0600 or 0400).
    """
    try:
        _check_place(path)
        # Not to wait for whoever might write into a pipe: what is no file is refused below.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check_status(path, os.fstat(descriptor), private=private)
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise _unopened(path, error) from None
    if len(content) > LARGEST_BYTES:
        raise _unreadable(path, f"is larger than {LARGEST_BYTES} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, "is not UTF-8 text", "save it as UTF-8", line) from None
    if not text.strip():
        raise _unreadable(path, "is empty", "leave the file away to run with defaults")
    return text


_ADVICE: Final = {
    FileNotFoundError: "check the path",
    PermissionError: "let the service's user read it",
    IsADirectoryError: "name the file inside it",
}


def _check_place(path: FilePath) -> None:
    """A link may only lead to a file below its own directory, so that who may write there decides what is read."""
    if path.is_dir():
        raise _unreadable(path, "is a directory", "name the file inside it")
    if path.is_symlink() and not _leads_below(path):
        raise _unreadable(path, "is a link that leads out of its directory", "copy the file here")


def _leads_below(path: FilePath) -> bool:
    try:
        return path.resolve().is_relative_to(path.parent.resolve())
    except RuntimeError:  # links in a circle: newer Pythons raise nothing here, and opening the file does
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


def _unopened(path: FilePath, error: OSError) -> SettingsError:
    if error.errno == errno.ELOOP:
        return _unreadable(path, "is a link that leads back to itself", "name the file")
    return _unreadable(path, f"cannot be read: {error.strerror}", _ADVICE.get(type(error), ""))


def _check_status(path: FilePath, status: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, "is not a regular file")
    if status.st_mode & stat.S_IWOTH:
        raise _unreadable(path, "can be written by everybody on this machine", f"chmod o-w {path.name}")
    if private and status.st_mode & _READ_OR_WRITTEN_BY_OTHERS:
        raise _unreadable(path, "holds a secret that others on this machine can read", f"chmod 600 {path.name}")


def _unreadable(path: FilePath, message: str, hint: str = "", line: int = 1) -> SettingsError:
    finding = Finding(str(path), line, 1, "", f"the file {message}", hint)
    return SettingsError((finding,), unreadable=True)
