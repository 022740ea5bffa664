"""What a model is called: a repository, a file in it, a revision; and where its weights lie on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from local_engine.split import NotFirst, parts

_REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LONGEST_FILE: Final = 240


class BadReference(ValueError):
    """Not the name of a file that can be pulled; the sentence says what to write instead."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One GGUF file of a repository. Every field is plain: it goes into a URL, a path and the ledger as it stands."""

    repo: str
    file: str
    revision: str = "main"

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo) or ".." in self.repo:
            raise BadReference(f"'{self.repo[:200]}' is not a repository: write OWNER/NAME")
        segments = self.file.split("/")
        if not all(_SEGMENT.fullmatch(part) for part in segments) or len(self.file) > LONGEST_FILE:
            raise BadReference(
                f"'{self.file[:200]}' is not a file of a repository: write NAME.gguf or FOLDER/NAME.gguf"
            )
        if not self.file.endswith(".gguf"):
            raise BadReference(f"'{self.file[:200]}' is not a GGUF file: choose one whose name ends in .gguf")
        if not _REVISION.fullmatch(self.revision):
            raise BadReference(f"'{self.revision[:120]}' is not a revision: write a branch, a tag or a commit")

    @property
    def name(self) -> str:
        """How people and the ledger name it."""
        return f"{self.repo}:{self.file}"

    @property
    def parts(self) -> tuple[Reference, ...]:
        """All files of the model that this one names, itself first. BadReference when it is another part of one."""
        try:
            return tuple(replace(self, file=file) for file in parts(self.file))
        except NotFirst as error:
            raise BadReference(str(error)) from None

    @property
    def path(self) -> str:
        """Its path on a Hub."""
        return f"/{self.repo}/resolve/{self.revision}/{self.file}"

    def within(self, directory: Path) -> Path:
        """Where its weights lie in the directory of models. "--" cannot be confused: no owner or repository has it."""
        return directory / self.repo.replace("/", "--") / self.file.replace("/", "--")


def parse(text: str) -> Reference:
    """`OWNER/NAME:FILE.gguf`, with `@REVISION` at its end if not the main one. BadReference for anything else."""
    repo, colon, rest = text.partition(":")
    file, _, revision = rest.partition("@")
    if not colon:
        raise BadReference(f"'{text[:200]}' names no file: write OWNER/NAME:FILE.gguf")
    return Reference(repo, file, revision or "main")
