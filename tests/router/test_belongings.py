"""Which files a managed program is shown without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.supervisor.belongings import readable


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def made(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_program_in_a_prefix_of_its_own_is_shown_the_prefix(place: Path) -> None:
    program = made(place / "llama" / "bin" / "llama-server")
    assert readable([str(program)]) == [str(program), str(place / "llama")]


def test_one_that_lies_elsewhere_is_shown_its_directory(place: Path) -> None:
    program = made(place / "tools" / "server")
    assert readable([str(program)]) == [str(program), str(place / "tools")]


def test_a_shallow_prefix_is_not_its_own() -> None:
    """What lies in /opt, or in the root, belongs to others too."""
    assert readable(["/opt/bin/server"]) == ["/opt/bin/server", "/opt/bin"]
    assert readable(["/server"]) == ["/server"]


def test_a_link_is_followed_and_the_python_under_a_venv_found(place: Path) -> None:
    python = made(place / "python-3.12" / "bin" / "python3")
    made(place / "venv" / "pyvenv.cfg", f"home = {python.parent}\nversion = 3\n")
    program = place / "venv" / "bin" / "python"
    program.parent.mkdir()
    program.symlink_to(python)
    shown = readable([str(program), "-m", "server"])
    assert set(shown) == {str(program), str(place / "venv"), str(python), str(place / "python-3.12")}


def test_what_arguments_name_is_shown_if_it_is_there(place: Path) -> None:
    program = made(place / "p" / "bin" / "server")
    model = made(place / "models" / "one.gguf")
    directory = made(place / "adapters" / "a").parent
    command = [str(program), "--model", str(model), f"--lora={directory}", "--host", "/no/such/socket", "relative"]
    assert readable(command)[2:] == [str(model), str(directory)]


def test_all_pieces_of_a_split_model_are_shown(place: Path) -> None:
    program = made(place / "p" / "bin" / "server")
    first, second = (made(place / "m" / f"big-{number:05}-of-00002.gguf") for number in (1, 2))
    made(place / "m" / "other.gguf")
    assert readable([str(program), "--model", str(first)])[2:] == [str(first), str(second)]


def test_of_a_hub_cache_the_blobs_behind_the_links_are_shown(place: Path) -> None:
    program = made(place / "p" / "bin" / "server")
    repository = place / "hub" / "models--org--name"
    made(repository / "blobs" / "00")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    assert readable([str(program), str(snapshot)])[2:] == [str(snapshot), str(repository)]
