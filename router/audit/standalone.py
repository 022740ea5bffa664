"""The verifier as one file, for the reviewer's machine: Python and `cryptography` are all it needs there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("format", "verify")
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)  # so that the same code makes the same file
_MAIN: Final = """import sys
try:
    from router.audit.verify.__main__ import main
except ImportError as error:
    print(f"cannot verify: Python 3.11 and its package cryptography are needed here: {error}", file=sys.stderr)
    sys.exit(3)
sys.exit(main())
"""


def build() -> bytes:
    """A zip archive that Python runs: the two packages without the rest of the router."""
    here = Path(__file__).parent
    sources = {"__main__.py": _MAIN, "router/__init__.py": "", "router/audit/__init__.py": ""}
    for package in _PACKAGES:
        for path in sorted((here / package).glob("*.py")):
            sources[f"router/audit/{package}/{path.name}"] = path.read_text()
    packed = io.BytesIO(b"#!/usr/bin/env python3\n")
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sources.items():
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
