"""`hosts`, `ca_file`, `client_cert`, `client_key`: what they mean, what is refused, who gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.settings.codec import encode
from tests.router.certificates import Authority
from tests.settings.conftest import Write, refused, taken

UPSTREAM = "upstreams: {gpu: {url: 'https://gpu.lan.example:8443/v1'%s}}\ndefault_model: m\n"


def test_a_name_of_the_table_carries_its_addresses(write: Write) -> None:
    loaded = taken(write(UPSTREAM % "" + "hosts: {gpu.lan.example: [10.1.2.3, 'fd00::3']}\n"))
    destination = loaded.snapshot.policy.upstreams["gpu"].destination
    assert destination is not None
    assert destination.addresses == ("10.1.2.3", "fd00::3")
    assert loaded.snapshot.policy.digest != taken(write(UPSTREAM % "")).snapshot.policy.digest


@pytest.mark.parametrize(
    ("hosts", "extra", "key", "words"),
    [
        ("{gpu.lan.exampel: [10.1.2.3]}", "", "hosts.gpu.lan.exampel", "no upstream has the host"),
        ("{gpu.lan.example: [10.1.2.03]}", "", "hosts.gpu.lan.example[0]", "not an IP address"),
        ("{gpu.lan.example: ['FD00::1']}", "", "hosts.gpu.lan.example[0]", "write 'fd00::1'"),
        ("{gpu.lan.example: []}", "", "hosts.gpu.lan.example", "needs 1 to 64"),
        ("{gpu.lan.example: [127.0.0.1]}", "", "hosts.gpu.lan.example", "forbidden_address"),
        ("{gpu.lan.example: [8.8.8.8]}", "", "hosts.gpu.lan.example", "public_not_acknowledged"),
        ("{gpu.lan.example: [10.9.9.9]}", ", addresses: [10.1.2.0/24]", "hosts.gpu.lan.example", "address_outside_pin"),
        ("{gpu.lan.example: [169.254.169.254]}", "", "hosts.gpu.lan.example", "metadata_address"),
        ("{localhost: [127.0.0.1]}", "", "hosts.localhost", "not_canonical"),
    ],
)
def test_a_table_that_the_gate_would_refuse_is_refused(
    hosts: str, extra: str, key: str, words: str, write: Write
) -> None:
    findings = refused(write(UPSTREAM % extra + f"hosts: {hosts}\n"))
    assert [(finding.key, words in finding.message) for finding in findings if finding.key == key] == [(key, True)]


def material(tmp_path: Path) -> tuple[str, str]:
    """ca.pem, client.pem and client.key in the directory; the certificate's and the key's text."""
    authority = Authority.make(tmp_path)
    pem = authority.server().file.read_text()
    at = pem.index("-----BEGIN PRIVATE KEY")
    (tmp_path / "client.pem").write_text(pem[:at])
    (tmp_path / "client.key").write_text(pem[at:])
    (tmp_path / "client.key").chmod(0o600)
    return pem[:at], pem[at:]


WHOLE = UPSTREAM % ", ca_file: authority.pem, client_cert: client.pem, client_key: client.key"


def test_material_is_read_at_load_and_goes_to_the_gate_alone(tmp_path: Path, write: Write) -> None:
    certificate, key = material(tmp_path)
    snapshot = taken(write(WHOLE)).snapshot
    tls = snapshot.tls["gpu"]
    assert (tls.certificate, tls.key) == (certificate, key)
    assert tls.authorities == (tmp_path / "authority.pem").read_text()
    assert key not in repr(snapshot)
    assert b"BEGIN" not in encode(snapshot.for_workers())
    assert key.encode() in encode(snapshot.for_gate())


def test_another_authority_is_another_policy_and_another_key_is_not(tmp_path: Path, write: Write) -> None:
    material(tmp_path)
    one = taken(write(WHOLE)).snapshot.policy.digest
    key = tmp_path / "client.key"
    key.write_text(key.read_text() + "\n")
    assert taken(write(WHOLE)).snapshot.policy.digest == one
    material(tmp_path)
    assert taken(write(WHOLE)).snapshot.policy.digest != one


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ("ca_file: missing.pem", "ca_file", "cannot be read"),
        ("ca_file: client.key", "ca_file", "no certificate"),
        ("client_cert: client.pem", "client_cert", "need each other"),
        ("client_key: client.key", "client_key", "need each other"),
        ("client_cert: client.pem, client_key: other.key", "client_key", "is not the key of"),
        ("client_cert: client.pem, client_key: open.key", "client_key", "others on this machine can read"),
        ("client_cert: client.pem, client_key: client.pem", "client_key", "others on this machine can read"),
        ("client_cert: client.pem, client_key: no.key", "client_key", "no private key"),
    ],
)
def test_material_that_is_wrong_is_refused(keys: str, key: str, words: str, tmp_path: Path, write: Write) -> None:
    other = tmp_path / "other"
    other.mkdir()
    material(other)
    material(tmp_path)
    for name, source, mode in (
        ("other.key", other / "client.key", 0o600),
        ("open.key", tmp_path / "client.key", 0o640),
    ):
        (tmp_path / name).write_text(source.read_text())
        (tmp_path / name).chmod(mode)
    (tmp_path / "no.key").write_text("nothing\n")
    (tmp_path / "no.key").chmod(0o600)
    findings = refused(write(UPSTREAM % f", {keys}"))
    assert any(finding.key == f"upstreams.gpu.{key}" and words in finding.message for finding in findings), findings
    assert "PRIVATE" not in str(findings)


def test_material_without_tls_means_nothing(tmp_path: Path, write: Write) -> None:
    material(tmp_path)
    findings = refused(write(WHOLE.replace("https", "http")))
    assert {finding.key for finding in findings} == {
        f"upstreams.gpu.{key}" for key in ("ca_file", "client_cert", "client_key")
    }
