"""What a file says of one upstream: where it listens, how it is known, and the program behind it if that is ours."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from router.settings.strict import Duration, Strict


class UpstreamSettings(Strict):
    url: str | None = Field(
        default=None, description="Where it listens: `http(s)://HOST:PORT/PATH`, canonical, port included."
    )
    engine: str | None = Field(default=None, description="Instead of `url`: the embedded engine of this name.")
    backend: Literal["llama_cpp", "vllm", "ollama", "tgi", "other"] = Field(
        default="other", description="The software that answers there."
    )
    addresses: tuple[str, ...] = Field(
        default=(), description="Pins: CIDR blocks in which every address of the host must lie."
    )
    tls_pin: tuple[str, ...] = Field(
        default=(),
        description="Pins: `sha256/` and base64 of the SHA-256 of the certificate's public key; one must match.",
    )
    ca_file: str | None = Field(
        default=None, description="PEM certificates of the authorities to trust here, instead of the system's."
    )
    client_cert: str | None = Field(
        default=None, description="The certificate (PEM, with its chain) to show to the server; needs `client_key`."
    )
    client_key: str | None = Field(default=None, description="Its private key (PEM, mode 0600, no passphrase).")
    third_party_host: bool = Field(
        default=False, description="Set to true to accept that it runs on somebody else's computer (reach `rented`)."
    )
    weight: int = Field(default=1, ge=1, le=100, description="Its share of its tier's requests, against the others'.")
    concurrency: int = Field(
        default=0,
        ge=0,
        le=100_000,
        json_schema_extra={"written": "no limit"},
        description="Its exchanges at the same time, within its tier's; more go to the tier's others, or wait.",
    )
    may_sleep: bool = Field(
        default=False,
        description="Set to true when nothing may listen there until its machine or server has started: a refused "
        "connection is then waited for like a cold start, else the next upstream is asked at once.",
    )
    gateway: bool = Field(
        default=False,
        description="Set to true when a gateway of yours (LiteLLM and its like) answers there: where it passes prompts "
        "on to is then yours to answer for.",
    )
    key_file: str | None = Field(
        default=None, description="A file (mode 0600) with the bearer token that this upstream wants."
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="A program that we start and stop: its path and arguments, no shell. `{socket}` stands for the "
        "UNIX socket that it must serve on (`network: none`), `{port}` for the port of `url` (`network: loopback`).",
    )
    network: Literal["none", "loopback"] = Field(
        default="none",
        description="How `command` is reached: `none` on the UNIX socket that it serves on, `loopback` at the loopback "
        "port that `url` names. Either way it is in a network of its own, with nothing but its own loopback. Where the "
        "machine allows no such network, `none` is not started; `loopback` is, in the machine's network, and says so, "
        "unless `require_seal` asks for `netns`.",
    )
    start: Literal["on_demand", "eager"] = Field(
        default="on_demand",
        description="When `command` is started: with the first request for it, or with the service.",
    )
    idle: Duration = Field(
        default=900.0,
        description="`command` is stopped after this long without a request; `0s`: never. Not if `eager`.",
    )
    exclusive: str | None = Field(
        default=None,
        description="A name for what only one can hold, such as `gpu0`: of all upstreams with this name one runs at a "
        "time, and requests for the others wait for their turn.",
    )
    patience: Duration = Field(
        default=30.0,
        description="How long the others of `exclusive` wait at most while this one is busy, counted from when it was "
        "ready; then it finishes what runs and gives way.",
    )
    start_within: Duration = Field(
        default=180.0, gt=0, description="`command` is stopped, and tried again later, if it is not ready by then."
    )
    stop_within: Duration = Field(
        default=10.0,
        gt=0,
        description="From the polite signal (SIGTERM) to SIGKILL for all that is left of it.",
    )
    read: tuple[str, ...] = Field(
        default=(),
        description="Files and directories, as whole paths, that `command` may read and run beside the system's "
        "programs and libraries, its own installation, and the files and directories that its arguments name.",
    )
    write: tuple[str, ...] = Field(
        default=(),
        description="Directories, as whole paths, in which `command` may do everything; they are made if they are not "
        "there. Beside them it has its HOME (and TMPDIR in it), and nothing else.",
    )
    environment: dict[str, str] = Field(
        default={},
        description="Variables for `command`; it gets nothing else of ours but PATH, LANG, TZ, a "
        "user's name, a HOME and a TMPDIR.",
    )
