"""A projector's file, read and bounded before libmtmd parses it, as a model's is."""

from __future__ import annotations

from pathlib import Path

from local_engine.gguf import BadModelFile, Header, read_header


def read_projector(path: Path) -> Header:
    """BadModelFile unless it is a projector of pictures."""
    header = read_header(path)
    facts = header.facts
    if facts.get("general.architecture") != "clip":
        found = facts.get("general.architecture")
        raise BadModelFile(f"{path.name} is no projector: its header says {found!r}, and a projector's says 'clip'")
    if facts.get("clip.has_vision_encoder") is not True:
        raise BadModelFile(f"{path.name} is a projector, and not of pictures: it has no vision encoder")
    return header
