"""The engine's peers: llama-server from the very source our libraries were built from, and llama-cpp-python's server.

Both live under .cache/, apart from .venv. `python bench/engine_peers.py` makes them; it takes some minutes, once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".cache" / "engine"
SERVER = SCRATCH / "build-peer" / "bin" / "llama-server"
PYTHON_PEER = SCRATCH / "peer-venv"
BINDINGS = SCRATCH / "peer-bindings"
NATIVE = ROOT / ".venv" / "engine" / "native-lib"
KEEP_STORES = "-fno-tree-dse -fno-dse"
PEER_PACKAGES = ("fastapi", "uvicorn", "sse-starlette", "starlette-context<0.4", "pydantic-settings", "PyYAML")
BINDING_PACKAGES = ("numpy", "jinja2", "diskcache", "typing-extensions")


def make_llama_server() -> None:
    """The same compiler flags as tools/build_engine.py's native library."""
    if SERVER.exists():
        return
    archive = max((SCRATCH / "sdist").glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(SCRATCH / "peer-source", filter="data")
    source = next((SCRATCH / "peer-source").iterdir()) / "vendor" / "llama.cpp"
    cmake = str(ROOT / ".venv" / "bin" / "cmake")
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DGGML_CCACHE=OFF", "-DBUILD_SHARED_LIBS=ON"]
    flags += [f"-DCMAKE_C_FLAGS={KEEP_STORES}", f"-DCMAKE_CXX_FLAGS={KEEP_STORES}"]
    flags += [f"-DLLAMA_{part}=OFF" for part in ("CURL", "OPENSSL", "BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_UI")]
    build = SERVER.parent.parent
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}  # noqa: TID251 - a build
    for command in (
        [cmake, "-G", "Ninja", "-S", str(source), "-B", str(build), *flags],
        [cmake, "--build", str(build), "--target", "llama-server"],
    ):
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)


def make_python_peer() -> None:
    """llama-cpp-python's own server with our libraries: its bindings are the ones in .venv."""
    if BINDINGS.exists():
        return
    venv.create(PYTHON_PEER, with_pip=True)
    python = str(PYTHON_PEER / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES, *BINDING_PACKAGES], check=True, stdout=sys.stderr
    )
    installed = next((ROOT / ".venv" / "lib").glob("python*/site-packages/llama_cpp"))
    BINDINGS.mkdir(parents=True)
    (BINDINGS / "llama_cpp").symlink_to(installed)


if __name__ == "__main__":
    make_llama_server()
    make_python_peer()
