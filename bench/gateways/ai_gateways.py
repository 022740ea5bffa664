"""Gateways made for language models, as they start by default: no database, no guard rails, no content logged."""

from __future__ import annotations

import secrets
import shutil
from importlib.metadata import distributions
from pathlib import Path

from bench.gateways.contestant import Contestant, Place, Program, as_json, executable, installed, output
from bench.gateways.wire import HERE, free_ports

VLLM_ROUTER = installed("vllm-router", "bin", "vllm-router")
ROLTER = installed("rolter", "bin", "rolter")
FERROGW = installed("ferrogw", "bin", "ferrogw")
LITELLM = installed("litellm", "bin", "litellm")
TENSORZERO = installed("tensorzero", "bin", "python")
PORTKEY = installed("portkey", "node_modules", "@portkey-ai", "gateway", "build", "start-server.js")
NODE = Path(shutil.which("node") or "/usr/bin/node")


def packaged(name: str, environment: Path) -> str:
    """The version of a Python package in the environment of its own."""
    places = [str(place) for place in environment.glob("lib/python3*/site-packages")]
    return next((f"{name} {found.version}" for found in distributions(name=name, path=places)), "")


def vllm_router(place: Place) -> Program:
    urls = [f"http://127.0.0.1:{port}" for port in place.upstreams]
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--policy", "round_robin", "--log-level", "error"]
    metrics = ["--prometheus-port", str(free_ports())]
    return Program([str(VLLM_ROUTER), *options, *metrics, "--worker-urls", *urls])


def rolter(place: Place) -> Program:
    names = [f"mock-{number}" for number in range(len(place.upstreams))]
    parts = [f'[server]\nhost = "127.0.0.1"\nport = {place.port}\n']
    for name, port in zip(names, place.upstreams, strict=True):
        parts.append(
            f'[[providers]]\nname = "{name}"\nkind = "openai_compatible"\napi_base = "http://127.0.0.1:{port}"\n'
        )
    parts.append('[[routes]]\nmodel = "bench"\nstrategy = "round_robin"\n')
    parts += [f'[[routes.targets]]\nprovider = "{name}"\nmodel = "bench"\n' for name in names]
    tokens = _tokens(place, "sk-bench-")
    for number, token in enumerate(tokens.read_text().split()):
        parts.append(f'[[virtual_keys]]\nkey = "{token}"\nname = "caller-{number}"\nmodels = []\ndisabled = false\n')
    file = place.directory / "rolter.toml"
    file.write_text("\n".join(parts))
    return Program([str(ROLTER), "gateway", "-c", str(file)], keys=tokens)


def ferrogw(place: Place) -> Program:
    file = place.directory / "config.yaml"
    file.write_text(as_json({"strategy": {"mode": "single"}, "targets": [{"virtual_key": "ollama"}]}))
    environment = {
        "OLLAMA_HOST": f"http://127.0.0.1:{place.upstreams[0]}",
        "FERRO_OLLAMA_MODELS": "bench",
        "FERRO_MODEL_CATALOG_TIMEOUT": "0",
        "MASTER_KEY": f"fgw_{secrets.token_hex(16)}",
        "ALLOW_UNAUTHENTICATED_PROXY": "true",
        "GATEWAY_CONFIG": str(file),
        "PORT": str(place.port),
        "LOG_LEVEL": "error",
        "RATE_LIMIT_RPS": "1000000",
        "RATE_LIMIT_BURST": "1000000",
        "GOMAXPROCS": str(len(place.cores)),
    }
    return Program([str(FERROGW), "serve"], environment)


def litellm(place: Place) -> Program:
    served = [
        {
            "model_name": "bench",
            "litellm_params": {
                "model": "openai/bench",
                "api_base": f"http://127.0.0.1:{port}/v1",
                "api_key": "sk-none",
            },
        }
        for port in place.upstreams
    ]
    file = place.directory / "config.yaml"
    file.write_text(as_json({"model_list": served}))
    token = f"sk-{secrets.token_urlsafe(32)}"
    keys = place.directory / "tokens"
    keys.write_text(token + "\n")
    environment = {"LITELLM_MASTER_KEY": token, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", str(len(place.cores))]
    return Program([str(LITELLM), "--config", str(file), "--telemetry", "False", *options], environment, keys=keys)


def portkey(place: Place) -> Program:
    upstream = f"http://127.0.0.1:{place.upstreams[0]}/v1"
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: {upstream}", "Authorization: Bearer sk-none")
    return Program([str(NODE), str(PORTKEY), "--headless", f"--port={place.port}"], headers=headers)


TENSORZERO_TOML = """
[gateway.observability]
enabled = false
[models.bench]
routing = ["mock"]
[models.bench.providers.mock]
type = "openai"
model_name = "bench"
api_base = "http://127.0.0.1:{port}/v1"
api_key_location = "none"
"""


def tensorzero(place: Place) -> Program:
    """The gateway in TensorZero's client package: it takes a port by itself, and the script writes it down."""
    file = place.directory / "tensorzero.toml"
    file.write_text(TENSORZERO_TOML.format(port=place.upstreams[0]))
    command = [str(TENSORZERO), str(HERE / "wire" / "tensorzero_gateway.py"), str(file), str(place.directory / "port")]
    return Program(
        command,
        path="/openai/v1/chat/completions",
        model="tensorzero::model_name::bench",
        port_file=place.directory / "port",
    )


def _tokens(place: Place, prefix: str) -> Path:
    file = place.directory / "tokens"
    file.write_text("".join(f"{prefix}{secrets.token_hex(16)}\n" for _ in range(place.keys)))
    return file


def _ai(
    name: str, prepare: object, program: Path, package: str, *, does_many: bool = True, near: bool = False
) -> Contestant:
    assert callable(prepare)
    environment = installed(package)
    return Contestant(
        name, prepare, lambda: packaged(package, environment), executable(program), False, does_many, near=near
    )


AI_GATEWAYS = (
    _ai("vllm-router", vllm_router, VLLM_ROUTER, "vllm-router", near=True),
    _ai("rolter", rolter, ROLTER, "rolter"),
    _ai("tensorzero", tensorzero, TENSORZERO, "tensorzero", does_many=False),
    _ai("ferrogw", ferrogw, FERROGW, "ferrogw", does_many=False),
    _ai("litellm", litellm, LITELLM, "litellm"),
    Contestant(
        "portkey",
        portkey,
        lambda: f"{output(NODE, '-p', _portkey_version())}, node {output(NODE, '--version')}",
        executable(PORTKEY),
        does_tls=False,
        does_many=False,
    ),
)


def _portkey_version() -> str:
    return f"'@portkey-ai/gateway ' + require('{PORTKEY.parent.parent / 'package.json'}').version"
