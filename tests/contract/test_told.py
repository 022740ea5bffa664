"""What the documents name is there: commands with their options, settings, targets, files, modules, metrics."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from local_engine.options import parse
from router.cli.app import app
from router.settings.environment import FIRST_TIER, TIER_PARTS, VARIABLES
from router.settings.findings import SettingsError
from router.settings.load import load_whole

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
OTHERS = [*sorted((ROOT / "policies" / "examples").glob("*.yaml")), *sorted((ROOT / "deploy").rglob("*.service"))]
SPACE = ROOT / "deploy" / "huggingface-space"
IMAGES = [*sorted((ROOT / "deploy").rglob("Dockerfile")), *sorted((ROOT / "deploy").glob("*.yaml"))]
TEXTS = {path: path.read_text() for path in (*PAGES, *OTHERS)}
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SHELL = {"", "sh", "console", "bash"}
FOLDERS = "bench|deploy|docs|local_engine|policies|requirements|router|tests|tools"
FILE = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./*-]*\w)")


def fenced(path: Path, languages: set[str]) -> Iterator[str]:
    for indent, language, text in FENCED.findall(TEXTS[path]):
        if language in languages:
            yield "\n".join(line.removeprefix(indent) for line in text.splitlines())


def commands(path: Path) -> set[str]:
    """Everything that is shown as typed: in code of its own, or within a sentence."""
    lines = [line.strip().removeprefix("$ ") for block in fenced(path, SHELL) for line in block.splitlines()]
    lines += [found.removeprefix("$ ") for found in INLINE.findall(TEXTS[path])]
    lines += [
        found for line in TEXTS[path].splitlines() if path in OTHERS for found in re.findall(r"ringfence [^`#]*", line)
    ]
    return {line for line in lines if line.startswith("ringfence ")}


def joined(path: Path) -> Iterator[str]:
    """Lines of code of its own, as a shell reads them."""
    for block in fenced(path, SHELL):
        yield from (line.strip().removeprefix("$ ") for line in re.sub(r"\\\n\s*", "", block).splitlines())


def typed_lines(path: Path) -> set[str]:
    return {line for line in joined(path) if line.startswith("ringfence ")}


def words_of(line: str) -> list[str]:
    """Up to what a shell would do with it next, and without a remark."""
    plain = re.split(r"\s*(?:[|>;#]|&&|\s\()", line.partition("  ")[0])[0]
    return shlex.split(plain)[1:]


def wrong_in(line: str, group: Any) -> str:
    command = group
    words = words_of(line)
    while words and hasattr(command, "get_command"):
        if words[0].startswith("-"):
            return "" if words[0] in {"--help", "--version"} else f"no option {words[0]} of the program"
        if words[0] in {"…", "COMMAND"}:
            return ""
        found = command.get_command(None, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    given = {word.partition("=")[0].strip("[],.") for word in words if word.lstrip("[").startswith("-")}
    missing = {word for option in given for word in option.split("|")} - known
    return f"no option {', '.join(sorted(missing))}" if missing else ""


def test_every_command_shown_is_one() -> None:
    group = typer.main.get_command(app)
    shown = {(path.name, line) for path in TEXTS for line in commands(path)}
    assert len(shown) > 60
    wrong = {(page, line): fault for page, line in sorted(shown) if (fault := wrong_in(line, group))}
    assert wrong == {}


def test_every_command_shown_as_typed_is_taken() -> None:
    """What stands in code of its own has all that the command needs: its own parser reads it."""
    whole = typer.main.get_command(app)
    typed = {line for path in PAGES for line in typed_lines(path) if "…" not in line and "[" not in line}
    assert len(typed) > 30
    for line in sorted(typed):
        command: Any = whole
        words = words_of(line)
        while words and hasattr(command, "get_command"):
            command, words = command.get_command(None, words[0]), words[1:]
        command.make_context(command.name, words)


def test_the_engines_command_is_taken() -> None:
    for path in PAGES:
        for line in joined(path):
            if line.startswith("python -m local_engine "):
                assert parse(shlex.split(line)[3:]).host


WHAT_A_FRAGMENT_LACKS = (
    "the file cannot be read: No such file",  # an operator's own: keys, certificates
    "the key 'default_model' is missing",
    "no tier is called",
    "there is no caller",
    "there is no model",
)


@pytest.mark.parametrize("path", [path for path in PAGES if any(fenced(path, {"yaml"}))], ids=lambda path: path.name)
def test_every_setting_shown_is_one(path: Path, tmp_path: Path) -> None:
    """A whole file is good but for files of the operator's; a fragment may lack its surroundings, and nothing else."""
    for number, block in enumerate(fenced(path, {"yaml"})):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        lacks = WHAT_A_FRAGMENT_LACKS[:1] if block.startswith("version: 1") else WHAT_A_FRAGMENT_LACKS
        try:
            load_whole(file, {})
        except SettingsError as error:
            lines = block.splitlines()
            written_out = [str(one) for one in error.findings if "…" not in lines[one.line - 1]]
            assert [one for one in written_out if not any(lack in one for lack in lacks)] == []


def test_every_variable_named_is_read() -> None:
    known = {variable.name for variable in (*VARIABLES, *FIRST_TIER)}
    built_in = {"RINGFENCE_REPOSITORY", "RINGFENCE_REVISION"}  # of the Space's image, as it is built
    for path in (*PAGES, *OTHERS, *IMAGES):
        for name in re.findall(r"\b(?:RINGFENCE|CUSTOM_LLM|TIER(?:[0-9]+|n))_[A-Z_]+[A-Z]\b", path.read_text()):
            part = re.fullmatch(r"TIER(?:[0-9]+|n)_(.+)", name)
            assert name in known | built_in or (part and part[1] in dict(TIER_PARTS)), (path.name, name)
    told = (SPACE / "README.md").read_text() + (SPACE / "start.sh").read_text()
    for name in set(re.findall(r"\bENGINE_[A-Z_]+\b", told)) - {"ENGINE_BACKEND"}:
        assert f"${{{name}" in (SPACE / "start.sh").read_text(), name


def test_every_path_that_is_asked_is_served() -> None:
    served = (ROOT / "docs" / "reference" / "http.md").read_text()
    asked = {
        found
        for path in PAGES
        for line in [*joined(path), *INLINE.findall(TEXTS[path])]
        for found in re.findall(r"curl .*https?://[\w.:-]+(/[\w./]*)", line)
    }
    assert len(asked) >= 4
    assert {path for path in asked if f"`{path}`" not in served} == set()


def test_every_target_of_make_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path, text in TEXTS.items():
        code = " \n".join([*INLINE.findall(text), *fenced(path, SHELL)] if path in PAGES else [])
        told = set(re.findall(r"(?:^|[\s`$(])make ([a-z-]+)", code, re.MULTILINE))
        assert told <= targets, path.name


def test_every_file_named_is_there() -> None:
    missing = []
    for path in PAGES:
        if path.name == "known-pains.md":  # names tests below tests/, as test_pains.py knows
            continue
        code = "\n".join([*INLINE.findall(TEXTS[path]), *fenced(path, SHELL)])
        for name in FILE.findall(code.replace("::", " ")):
            there = any(ROOT.glob(name)) if "*" in name else (ROOT / name).exists() or (ROOT / f"{name}.py").exists()
            if not there:
                missing.append(f"{path.name}: {name}")
    assert missing == []


def test_every_module_that_is_run_is_there() -> None:
    for path in PAGES:
        for module in re.findall(r"python -m ((?:bench|tests|local_engine|router)[\w.]*)", TEXTS[path]):
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), (path.name, module)


def test_every_test_named_is_there() -> None:
    named = {found for text in TEXTS.values() for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)}
    assert len(named) > 8
    missing = [
        f"{file}::{name}" for file, name in sorted(named) if f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []


def test_the_design_has_a_place_for_every_module() -> None:
    """Where things are: each package, and each module that stands in none."""
    text = (ROOT / "docs" / "design.md").read_text()
    packages = [one.parent for name in ("router", "local_engine") for one in (ROOT / name).glob("*/__init__.py")]
    alone = [file for file in (ROOT / "router").glob("*.py") if not file.stem.startswith("__")]
    names = [f"router/{file.name}" for file in alone]
    names += [
        f"{package.name}/" if package.parent.name == "local_engine" else str(package.relative_to(ROOT))
        for package in packages
    ]
    assert [name for name in sorted(names) if name not in text] == []


def test_every_metric_named_is_counted() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "router").rglob("*.py"))
    told = {name for text in TEXTS.values() for name in re.findall(r"\bringfence_[a-z_]+\b", text)}
    assert {name for name in told if name not in code} == set()
