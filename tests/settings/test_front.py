"""`listen.tls`: what is refused before it takes effect, who gets the key, what the environment may say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from router.settings.codec import encode
from tests.router.certificates import DAY, Authority
from tests.settings.conftest import Write, refused, taken

FILE = "listen: {tls: {certificate: front.pem, key: front.key}}\nupstreams: {gpu: {url: 'http://10.1.2.3:8000/v1'}}\n"
MODEL = "default_model: m\n"
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def pair(directory: Path, *, begins: dt.timedelta = -DAY, ends: dt.timedelta = 90 * DAY) -> str:
    """front.pem and front.key; the key's text."""
    pem = Authority.make(directory).server(begins=begins, ends=ends).file.read_text()
    at = pem.index("-----BEGIN PRIVATE KEY")
    (directory / "front.pem").write_text(pem[:at])
    key(directory, pem[at:])
    return pem[at:]


def key(directory: Path, text: str) -> None:
    (directory / "front.key").write_text(text)
    (directory / "front.key").chmod(0o600)


def private(made: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, phrase: bytes = b"") -> str:
    lock = serialization.BestAvailableEncryption(phrase) if phrase else serialization.NoEncryption()
    return made.private_bytes(PEM, PKCS8, lock).decode()


def test_the_pair_is_read_at_load_and_goes_to_the_workers_alone(tmp_path: Path, write: Write) -> None:
    text = pair(tmp_path)
    loaded = taken(write(FILE + MODEL))
    snapshot = loaded.snapshot
    assert snapshot.listen.tls
    assert snapshot.front.key == text
    assert not loaded.notes
    assert {Path(file).name for file in snapshot.files} >= {"front.pem", "front.key"}, "watched"
    secret = text.splitlines()[1].encode()
    assert secret in encode(snapshot.for_workers())
    assert secret not in encode(snapshot.for_gate())
    assert secret.decode() not in repr(snapshot)


def test_a_new_certificate_is_no_new_policy(tmp_path: Path, write: Write) -> None:
    """The ledger's digest is of what decides; who renews a certificate changes no decision."""
    pair(tmp_path)
    before = taken(write(FILE + MODEL)).snapshot
    pair(tmp_path)
    after = taken(write(FILE + MODEL)).snapshot
    assert before.front != after.front
    assert before.policy.digest == after.policy.digest


def test_the_environment_names_the_pair_too(tmp_path: Path, write: Write) -> None:
    pair(tmp_path)
    said = {
        "RINGFENCE_TLS_CERTIFICATE": str(tmp_path / "front.pem"),
        "RINGFENCE_TLS_KEY": str(tmp_path / "front.key"),
    }
    rest = "upstreams: {gpu: {url: 'http://10.1.2.3:8000/v1'}}\n" + MODEL
    assert taken(write(rest), said).snapshot.listen.tls
    assert not taken(write(rest)).snapshot.listen.tls
    for alone, file in said.items():
        (finding,) = refused(write(rest), {alone: file})
        assert finding.key == alone
        assert finding.message == "'certificate' and 'key' need each other"
    (finding,) = refused(write("listen: {tls: {}}\n" + rest))
    assert (finding.line, finding.key) == (1, "listen.tls")


def test_who_renews_late_is_told(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, ends=10 * DAY)
    (note,) = taken(write(FILE + MODEL)).notes
    assert "listen.tls' ends on" in note


def other_key(directory: Path) -> None:
    key(directory, private(ec.generate_private_key(ec.SECP256R1())))


def open_key(directory: Path) -> None:
    (directory / "front.key").chmod(0o640)


def locked_key(directory: Path) -> None:
    key(directory, private(ec.generate_private_key(ec.SECP256R1()), b"secret"))


def no_certificate(directory: Path) -> None:
    (directory / "front.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n")


def no_file(directory: Path) -> None:
    (directory / "front.pem").unlink()


def ended(directory: Path) -> None:
    pair(directory, begins=-3 * DAY, ends=-DAY)


def not_begun(directory: Path) -> None:
    pair(directory, begins=DAY)


def broken_chain(directory: Path) -> None:
    """The `cryptography` package reads the first certificate; OpenSSL reads on, and finds half of another."""
    file = directory / "front.pem"
    whole = file.read_text()
    file.write_text(f"{whole}-----BEGIN CERTIFICATE-----\n{whole.splitlines()[1]}\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("spoil", "where", "words"),
    [
        (other_key, "key", "is not the key of the first certificate in 'certificate'"),
        (open_key, "key", "others on this machine can read"),
        (locked_key, "key", "no private key in PEM form without a passphrase"),
        (no_certificate, "certificate", "holds no certificate"),
        (no_file, "certificate", "cannot be read"),
        (ended, "certificate", "ended on"),
        (not_begun, "certificate", "only begins on"),
        (broken_chain, "certificate", ""),
    ],
)
def test_a_pair_that_clients_would_refuse_is_refused(
    spoil: object, where: str, words: str, tmp_path: Path, write: Write
) -> None:
    pair(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)
    (finding,) = refused(write(FILE + MODEL))
    assert (finding.line, finding.key) == (1, f"listen.tls.{where}")
    assert words in finding.message


def test_what_only_openssl_minds_is_told_in_its_words(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(*_: object) -> None:
        raise OSError("EE_KEY_TOO_SMALL")

    pair(tmp_path)
    monkeypatch.setattr("router.settings.front.server_context", picky)
    (finding,) = refused(write(FILE + MODEL))
    assert "EE_KEY_TOO_SMALL" in finding.message
