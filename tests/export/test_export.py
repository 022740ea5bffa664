"""The list compiled for other fences: golden files, parsed again, and nftables held against a real process."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.cli.export import Form
from tests.service import ringfence

GOLDEN = Path(__file__).parent / "golden"
POLICY = """
listen: {port: 7861}
hosts: {gpu.lan.example: [10.1.2.3, "fd00::3"]}
upstreams:
  literal: {url: "http://10.0.0.7:8000/v1"}
  neighbour: {url: "http://10.0.0.6:8000/v1"}
  here: {url: "http://127.0.0.1:11434/v1", backend: ollama}
  six: {url: "http://[fd00::9]:8000/v1"}
  table: {url: "https://gpu.lan.example:8443/v1"}
  pinned: {url: "https://llm.corp.example:8443/v1", addresses: [10.1.2.0/24]}
  space: {url: "https://alice-llm.hf.space:443/v1", third_party_host: true}
  embedded: {engine: small}
default_model: m
"""
OPTIONS = ("--nameserver", "10.0.0.53", "--client", "10.8.0.0/16")


def exported(form: str, directory: Path, policy: str = POLICY, *options: str) -> subprocess.CompletedProcess[str]:
    (directory / "tiers.yaml").write_text(policy)
    return ringfence(directory, "export", form, "tiers.yaml", *options)


@pytest.mark.parametrize("form", list(Form))
def test_what_is_written_is_what_was_reviewed(form: Form, tmp_path: Path) -> None:
    """`RINGFENCE_GOLDEN=write` in front of pytest writes the files anew: read the difference before you keep it."""
    done = exported(form, tmp_path, POLICY, *OPTIONS)
    assert done.returncode == 0, done.stderr
    golden = GOLDEN / f"{form}.txt"
    written, digests = re.subn(r"(?<=from policy )[0-9a-f]{64}(?=\.)", "DIGEST", done.stdout)
    assert digests == 1  # it changes with every key that a policy learns
    if os.environ.get("RINGFENCE_GOLDEN") == "write":  # noqa: TID251 - a switch of this test
        golden.write_text(written)
    assert written == golden.read_text()
    assert "space: 'alice-llm.hf.space' has no addresses in the policy" in done.stderr
    assert done.stderr.count("note:") == 1


def test_systemd_reads_it_as_ini_with_only_listed_addresses(tmp_path: Path) -> None:
    text = exported("systemd", tmp_path, POLICY.replace("  space:", "  #"), *OPTIONS).stdout
    parser = configparser.ConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way to keep capitals
    parser.read_string(text)
    assert parser["Service"]["IPAddressDeny"] == "any"
    allowed = {line.partition("=")[2] for line in text.splitlines() if line.startswith("IPAddressAllow=")}
    assert allowed == {
        "", "localhost", "10.0.0.6/31", "127.0.0.1/32", "10.1.2.0/24", "fd00::3/128", "fd00::9/128", "10.0.0.53",
        "10.8.0.0/16",
    }  # fmt: skip


def peers(rules: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in rules
        for peer in rule["to"]
        if "ipBlock" in peer
        for port in rule["ports"]
    }


def test_a_networkpolicy_opens_the_listed_addresses_and_dns(tmp_path: Path) -> None:
    document = yaml.safe_load(exported("networkpolicy", tmp_path, POLICY.replace("  space:", "  #")).stdout)
    spec = document["spec"]
    assert (document["kind"], spec["policyTypes"]) == ("NetworkPolicy", ["Egress"])
    assert spec["podSelector"] == {"matchLabels": {"app": "ringfence"}}
    assert peers(spec["egress"]) == {
        ("10.0.0.6/31", 8000), ("127.0.0.1/32", 11434), ("fd00::9/128", 8000), ("10.1.2.0/24", 8443),
        ("fd00::3/128", 8443),
    }  # fmt: skip
    assert [port["port"] for port in spec["egress"][0]["ports"]] == [53, 53]


def test_without_names_no_dns_is_open_and_without_upstreams_nothing_is(tmp_path: Path) -> None:
    policy = 'upstreams: {u: {url: "http://10.0.0.7:8000"}}\ndefault_model: m\n'
    assert " 53" not in exported("nftables", tmp_path, policy, *OPTIONS).stdout
    assert "10.0.0.53" not in exported("systemd", tmp_path, policy, *OPTIONS).stdout
    alone = "upstreams: {e: {engine: small}}\n"
    assert yaml.safe_load(exported("networkpolicy", tmp_path, alone).stdout)["spec"]["egress"] == []
    assert yaml.safe_load(exported("cilium", tmp_path, alone).stdout)["spec"]["egress"] == [{}]


def test_cilium_follows_names_and_answers_dns_for_them_alone(tmp_path: Path) -> None:
    spec = yaml.safe_load(exported("cilium", tmp_path).stdout)["spec"]
    dns, *rules = spec["egress"]
    names = [row["matchName"] for row in dns["toPorts"][0]["rules"]["dns"]]
    assert names == ["alice-llm.hf.space", "llm.corp.example"]
    assert [row["toFQDNs"] for row in rules if "toFQDNs" in row] == [[{"matchName": "alice-llm.hf.space"}]]
    assert all(("toCIDR" in row) != ("toFQDNs" in row) for row in rules)


@pytest.mark.parametrize(
    "options",
    [
        ("--user", "x; accept"),
        ("--label", "no"),
        ("--nameserver", "dns.example"),
        ("--client", "everybody"),
        ("--user", ""),
    ],
)
def test_what_would_not_fit_the_text_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    done = exported("nftables", tmp_path, POLICY, *options)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_bad_policy_exports_nothing(tmp_path: Path) -> None:
    done = exported("nftables", tmp_path, "upstreams: {u: {url: 'http://1.2.3'}}\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "u.url" in done.stderr


# --- nftables, in a network of its own, against a process that is not sealed ---

NOBODY = 65534
NEEDS = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("ip"),
    reason="THE NFTABLES FENCE WAS NOT TESTED: it needs root, nftables and iproute2 (make tools)",
)
IN_THE_NAMESPACE = """
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo
nft -f {rules} || exit 3
exec {python} {program}
"""
PROGRAM = """
import json, os, socket, threading
def serve(family, host, port):
    server = socket.create_server((host, port), family=family)
    def accept():
        while True:
            server.accept()[0].sendall(b"hello")
    threading.Thread(target=accept, daemon=True).start()
for port in (8000, 8443, 9000, 53):
    serve(socket.AF_INET, "0.0.0.0", port)
    serve(socket.AF_INET6, "::", port)
mine = socket.create_server(("127.0.0.1", 7861))
child = os.fork()
if not child:
    os.setuid({user})
    def tried(kind, family, address):
        with socket.socket(family, kind) as one:
            one.settimeout(2)
            try:
                one.connect(address)
                if kind == socket.SOCK_DGRAM:
                    return "sent" if one.send(b"x") else ""
                return one.recv(9).decode()
            except OSError as error:
                return type(error).__name__
    def fast_open(address):
        with socket.socket() as one:
            one.settimeout(2)
            try:
                one.sendto(b"x", socket.MSG_FASTOPEN, address)
                return one.recv(9).decode()
            except OSError as error:
                return type(error).__name__
    tcp, udp, four, six = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.AF_INET, socket.AF_INET6
    print(json.dumps({{
        "listed": tried(tcp, four, ("10.0.0.7", 8000)),
        "listed, ipv6": tried(tcp, six, ("fd00::9", 8000)),
        "in a pin": tried(tcp, four, ("10.1.2.200", 8443)),
        "name server": tried(tcp, four, ("10.0.0.53", 53)),
        "name server, udp": tried(udp, four, ("10.0.0.53", 53)),
        "another address": tried(tcp, four, ("10.0.0.8", 8000)),
        "another port": tried(tcp, four, ("10.0.0.7", 9000)),
        "another port of a pin": tried(tcp, four, ("10.1.2.200", 8000)),
        "the internet": tried(tcp, four, ("203.0.113.9", 8443)),
        "metadata": tried(tcp, four, ("169.254.169.254", 8000)),
        "udp": tried(udp, four, ("10.0.0.7", 8000)),
        "another name server": tried(udp, four, ("8.8.8.8", 53)),
        "fast open": fast_open(("10.0.0.8", 8000)),
    }}), flush=True)
    # An answer to a client of the service goes out.
    mine.settimeout(5)
    mine.accept()[0].sendall(b"answer")
    os._exit(0)
client = socket.create_connection(("127.0.0.1", 7861), timeout=20)
print(json.dumps(client.recv(9).decode()))
os.waitpid(child, 0)
"""


@NEEDS
def test_the_rules_hold_against_an_unsealed_process(tmp_path: Path) -> None:
    policy = POLICY.replace("  space:", "  #")
    rules = tmp_path / "fence.nft"
    rules.write_text(exported("nftables", tmp_path, policy, "--user", str(NOBODY), "--nameserver", "10.0.0.53").stdout)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(user=NOBODY))
    script = IN_THE_NAMESPACE.format(rules=rules, python=sys.executable, program=program)
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    seen, answer = (yaml.safe_load(line) for line in done.stdout.splitlines())
    let_out = {key for key, value in seen.items() if value in ("hello", "sent")}
    assert let_out == {"listed", "listed, ipv6", "in a pin", "name server", "name server, udp"}, seen
    assert answer == "answer"
