"""`python -m tests.fuzz.guided TARGET [libFuzzer option …] CORPUS`, under tools/fuzz.py: one target."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # in its own environment only
with atheris.instrument_imports(include=["policies", "router"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    logging.disable()  # thousands of requests a minute that are no HTTP
    name, corpus = sys.argv[1], Path(sys.argv[-1])
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number}").write_bytes(seed)
    with TARGETS[name]() as one_input:
        atheris.Setup([sys.argv[0], *sys.argv[2:]], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
