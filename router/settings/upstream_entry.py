"""What a file says of one upstream: where it listens, how it is known, and the program behind it if that is ours."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from router.settings.strict import Duration, Strict


class UpstreamSettings(Strict, frozen=True):
    url: Annotated[
        str | None, Meta(description="Where it listens: `http(s)://HOST:PORT/PATH`, canonical, port included.")
    ] = None
    engine: Annotated[str | None, Meta(description="Instead of `url`: the embedded engine of this name.")] = None
    backend: Annotated[
        Literal["llama_cpp", "vllm", "ollama", "tgi", "other"], Meta(description="The software that answers there.")
    ] = "other"
    addresses: Annotated[
        tuple[str, ...], Meta(description="Pins: CIDR blocks in which every address of the host must lie.")
    ] = ()
    tls_pin: Annotated[
        tuple[str, ...],
        Meta(description="Pins: `sha256/` and base64 of the SHA-256 of the certificate's public key; one must match."),
    ] = ()
    ca_file: Annotated[
        str | None, Meta(description="PEM certificates of the authorities to trust here, instead of the system's.")
    ] = None
    client_cert: Annotated[
        str | None, Meta(description="The certificate (PEM, with its chain) to show to the server; needs `client_key`.")
    ] = None
    client_key: Annotated[str | None, Meta(description="Its private key (PEM, mode 0600, no passphrase).")] = None
    third_party_host: Annotated[
        bool, Meta(description="Set to true to accept that it runs on somebody else's computer (reach `rented`).")
    ] = False
    weight: Annotated[int, Meta(ge=1, le=100, description="Its share of its tier's requests, against the others'.")] = 1
    concurrency: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            extra_json_schema={"written": "no limit"},
            description="Its exchanges at the same time, within its tier's; more go to the tier's others, or wait.",
        ),
    ] = 0
    may_sleep: Annotated[
        bool,
        Meta(
            description="Set to true when nothing may listen there until its machine or server has started: a refused "
            "connection is then waited for like a cold start, else the next upstream is asked at once."
        ),
    ] = False
    gateway: Annotated[
        bool,
        Meta(
            description="Set to true when a gateway of yours (LiteLLM and its like) answers there: where it passes "
            "prompts "
            "on to is then yours to answer for."
        ),
    ] = False
    key_file: Annotated[
        str | None, Meta(description="A file (mode 0600) with the bearer token that this upstream wants.")
    ] = None
    command: Annotated[
        tuple[str, ...],
        Meta(
            description="A program that we start and stop: its path and arguments, no shell. `{socket}` stands for the "
            "UNIX socket that it must serve on (`network: none`), `{port}` for the port of `url` (`network: loopback`)."
        ),
    ] = ()
    network: Annotated[
        Literal["none", "loopback"],
        Meta(
            description="How `command` is reached: `none` on the UNIX socket that it serves on, `loopback` at the "
            "loopback "
            "port that `url` names. Either way it is in a network of its own, with nothing but its own loopback. Where "
            "the "
            "machine allows no such network, `none` is not started; `loopback` is, in the machine's network, and says "
            "so, "
            "unless `require_seal` asks for `netns`."
        ),
    ] = "none"
    start: Annotated[
        Literal["on_demand", "eager"],
        Meta(description="When `command` is started: with the first request for it, or with the service."),
    ] = "on_demand"
    idle: Annotated[
        Duration,
        Meta(description="`command` is stopped after this long without a request; `0s`: never. Not if `eager`."),
    ] = 900.0
    exclusive: Annotated[
        str | None,
        Meta(
            description="A name for what only one can hold, such as `gpu0`: of all upstreams with this name one runs "
            "at a "
            "time, and requests for the others wait for their turn."
        ),
    ] = None
    patience: Annotated[
        Duration,
        Meta(
            description="How long the others of `exclusive` wait at most while this one is busy, counted from when it "
            "was "
            "ready; then it finishes what runs and gives way."
        ),
    ] = 30.0
    start_within: Annotated[
        Duration, Meta(gt=0, description="`command` is stopped, and tried again later, if it is not ready by then.")
    ] = 180.0
    stop_within: Annotated[
        Duration, Meta(gt=0, description="From the polite signal (SIGTERM) to SIGKILL for all that is left of it.")
    ] = 10.0
    read: Annotated[
        tuple[str, ...],
        Meta(
            description="Files and directories, as whole paths, that `command` may read and run beside the system's "
            "programs and libraries, its own installation, and the files and directories that its arguments name."
        ),
    ] = ()
    write: Annotated[
        tuple[str, ...],
        Meta(
            description="Directories, as whole paths, in which `command` may do everything; they are made if they are "
            "not "
            "there. Beside them it has its HOME (and TMPDIR in it), and nothing else."
        ),
    ] = ()
    environment: Annotated[
        dict[str, str],
        Meta(
            description="Variables for `command`; it gets nothing else of ours but PATH, LANG, TZ, a "
            "user's name, a HOME and a TMPDIR."
        ),
    ] = field(default_factory=dict)
