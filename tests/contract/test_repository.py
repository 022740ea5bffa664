"""The house rules that no linter keeps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("policies", "router", "local_engine", "tools")
MOST_LINES = 300
NO_ROOM_OF_ITS_OWN = {"utils.py", "util.py", "helpers.py", "helper.py", "manager.py", "base.py", "common.py", "misc.py"}
BINARY = {".gguf", ".png", ".gz", ".tar"}
# A directory of one machine. /tmp, /run, /proc, /etc, /var, /usr and /opt are everybody's.
ONE_MACHINES = re.compile(r"(?<![\w.~/-])/(?:home|root|Users|work|mnt|workspace)/[A-Za-z0-9._-]+")
IN_A_CONTAINER = {"deploy/huggingface-space/Dockerfile"}  # its own user's home, as that platform wants it
INDEX_HOST = re.compile(r"https?://[^\s\"')>]*(?:pypi|pythonhosted|npmjs|/simple)[^\s\"')>]*", re.IGNORECASE)


def tracked() -> list[Path]:
    """Every file of the repository that is there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("NOT A GIT CHECKOUT: what is tracked cannot be told")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in BINARY]


def text_of(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def sources() -> list[Path]:
    return [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_source_file_is_too_long() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines for path in sources() if (lines := text_of(path).count("\n")) > MOST_LINES
    }
    assert too_long == {}


def test_no_file_is_a_drawer_for_anything() -> None:
    assert [path for path in tracked() if path.name in NO_ROOM_OF_ITS_OWN] == []


def test_the_readme_is_short() -> None:
    assert text_of(ROOT / "README.md").count("\n") <= 150


def test_no_file_names_a_place_of_one_machine() -> None:
    own = {Path(__file__)}
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in tracked()
        if path not in own | {ROOT / name for name in IN_A_CONTAINER} and (match := ONE_MACHINES.search(text_of(path)))
    }
    assert found == {}


def test_lock_files_name_no_index() -> None:
    locks = [path for path in tracked() if path.suffix == ".lock" or path.name == "package-lock.json"]
    assert len(locks) >= 5
    for lock in locks:
        text = text_of(lock)
        assert INDEX_HOST.search(text) is None, lock
        assert "resolved" not in text, lock
        assert "--index-url" not in text, lock
        assert "://" not in text, lock


def test_every_locked_requirement_has_a_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        blocks = [block for block in re.split(r"\n(?=\S)", text_of(lock)) if re.match(r"[A-Za-z0-9]", block)]
        assert blocks, lock
        for block in blocks:
            assert "--hash=sha256:" in block, f"{lock.name}: {block[:60]}"


def test_everything_a_stranger_looks_for_is_there() -> None:
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile", ".env.example"):
        assert (ROOT / name).is_file(), name
    assert "Apache License" in text_of(ROOT / "LICENSE")


def anchors(page: Path) -> set[str]:
    """What its headings are called in links, as the hosts of repositories call them."""
    text = re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in plain}


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for page in [path for path in tracked() if path.suffix == ".md"]:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text_of(page)):
            if "://" in target or target.startswith("mailto:"):
                continue
            there = page.parent / target if target else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{page.relative_to(ROOT)}: {target}#{anchor}")
    assert broken == []
