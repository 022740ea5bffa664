"""Keyed digests and sealed capture: what the reviewer can ask, what nobody else can, and what erasure destroys."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit import Kind, Ledger, envelope
from router.audit.codec import CODEC
from router.audit.format import content, layout
from router.audit.format.seal import SealError
from router.audit.format.segments import SegmentError
from router.audit.home import open_home
from router.audit.reveal import Matcher, Opener, _unseal, digest_keys, with_variants
from router.audit.show import moment_text
from router.audit.vault import Vault
from router.audit.verify.check import each, verify
from router.audit.verify.findings import CannotVerifyError
from tests.audit.attacker import Forger, steal
from tests.audit.ledgers import DECISION, WAIT_S, all_keys, check, codes, fields, reviewer, settings, vkey

PROMPT = b"the prompt: CANARY-7f3a91"
ANSWER = b"the answer: CANARY-e02b55"


def sealed(ledger: Ledger, request_id: str, part: str, text: bytes) -> str:
    with closing(ledger.begin_capture(request_id, part)) as capture:
        capture.add(text)
        return capture.finish()


def talk(directory: Path, prompt: bytes = PROMPT, caller: str = "alice", request_id: str = "req-1") -> int:
    """One exchange with digests and capture; the day's date is today's."""
    ledger = Ledger.open(settings(directory))
    body = {
        **DECISION,
        "caller": caller,
        "request_id": request_id,
        "prompt_mac": ledger.digest(caller, prompt),
        "message_macs": [ledger.digest(caller, b"system"), ledger.digest(caller, prompt)],
        "capture": sealed(ledger, request_id, "prompt", prompt),
    }
    index = ledger.append(Kind.DECISION, body).index
    answer = {"answer_mac": ledger.digest(caller, ANSWER), "capture": sealed(ledger, request_id, "answer", ANSWER)}
    ledger.append(Kind.OUTCOME, {"decision": index, "ending": "completed", **answer}).wait(WAIT_S)
    ledger.close()
    return index


def matches(directory: Path, text: bytes) -> list[str]:
    log = layout.log_of(all_keys(directory).vkey.name)
    matcher = Matcher(digest_keys(directory, log, reviewer(directory)), with_variants(text))
    verify(directory, all_keys(directory), CODEC, matcher.see)
    return [f"{hit.part}:{hit.caller}:{hit.record}" for hit in matcher.hits]


def opened(directory: Path, request_id: str = "req-1") -> list[tuple[int, str, bytes | None]]:
    opener = Opener(lambda _, body: body.get("request_id") == request_id)
    verify(directory, all_keys(directory), CODEC, each(opener.see))
    log = layout.log_of(all_keys(directory).vkey.name)
    return list(opener.contents(directory, log, reviewer(directory)))


def today(directory: Path) -> str:
    return next((directory / content.CAPTURES).iterdir()).name


def test_the_reviewer_finds_a_text_and_reads_what_was_sealed(tmp_path: Path) -> None:
    index = talk(tmp_path)
    assert matches(tmp_path, PROMPT + b"\n") == [f"prompt:alice:{index}", f"message:alice:{index}"]
    assert matches(tmp_path, ANSWER) == [f"answer:alice:{index + 1}"]
    assert matches(tmp_path, b"another text") == []
    assert [(part, text) for _, part, text in opened(tmp_path)] == [("prompt", PROMPT), ("answer", ANSWER)]
    assert opened(tmp_path, "req-9") == []
    assert codes(check(tmp_path)) == []


def test_no_sink_of_the_ledger_holds_a_word(tmp_path: Path) -> None:
    """The canary: planted in prompt, answer and every field that a client fills; looked for in every file."""
    talk(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"CANARY" not in path.read_bytes(), path


def test_the_same_words_of_two_callers_or_two_lives_look_different(tmp_path: Path) -> None:
    talk(tmp_path, caller="alice")
    talk(tmp_path, caller="bob")
    macs = [record["body"]["prompt_mac"] for record in fields(tmp_path) if record["kind"] == "decision"]
    assert len(set(macs)) == 2
    assert {hit.split(":")[1] for hit in matches(tmp_path, PROMPT)} == {"alice", "bob"}


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=200), max_size=3))
def test_the_writers_digests_are_the_reviewers(key: bytes, texts: list[bytes]) -> None:
    digest = content.CallerDigest(key)
    assert digest.of_each(texts) == [content.content_mac(key, text) for text in texts]


def test_one_key_a_day(tmp_path: Path) -> None:
    home = open_home(tmp_path, "ringfence")
    now, made = [86_400.0 * 20_000], []
    vault = Vault(home, lambda name, sha256: made.append((name, sha256)), lambda: now[0])
    same = {vault.digests("alice", (PROMPT,))[0], vault.digests("alice", (PROMPT,))[0]}
    now[0] += 86_400
    other = vault.digests("alice", (PROMPT,))[0]
    vault.close()
    home.close()
    assert len(same) == 1
    assert other not in same
    assert [name[:10] for name, _ in made] == ["2024-10-04", "2024-10-05"]
    for name, sha256 in made:
        assert content.sealed_name((tmp_path / content.DIGESTS / name).read_bytes()) == sha256


def test_many_callers_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.audit.vault.MOST_CALLERS", 3)
    home = open_home(tmp_path, "ringfence")
    vault = Vault(home, lambda _name, _sha256: None)
    first = vault.digests("0", (PROMPT,))[0]
    for number in range(1, 9):
        vault.digests(str(number), (PROMPT,))[0]
    assert len(vault._callers) <= 3
    assert vault.digests("0", (PROMPT,))[0] == first
    vault.close()
    home.close()


def test_erasure_destroys_the_content_and_not_the_log(tmp_path: Path) -> None:
    talk(tmp_path)
    ledger = Ledger.open(settings(tmp_path))
    ledger.digest("alice", b"today's key is in memory, too")
    assert ledger.erase(today(tmp_path), "asked_for") == 4  # two digest keys, two sealed texts
    assert ledger.erase("2020-01-01", "asked_for") == 0
    with pytest.raises(ValueError):
        ledger.erase("../segments", "mischief")
    ledger.close()
    assert matches(tmp_path, PROMPT) == []
    erased = [r["body"] for r in fields(tmp_path) if r["kind"] == "erasure"]
    assert [(body["subject"], body["count"]) for body in erased] == [("content", 4), ("content", 0)]
    assert codes(check(tmp_path)) == []


def test_what_was_erased_is_said_to_be(tmp_path: Path) -> None:
    talk(tmp_path)
    for path in (tmp_path / content.CAPTURES).rglob("*.sealed"):
        path.unlink()
    assert [text for _, _, text in opened(tmp_path)] == [None, None]


def test_what_was_taken_away_without_an_erasure_is_missed(tmp_path: Path) -> None:
    """Whoever may delete files could else destroy what a reviewer might ask about, and nobody would know."""
    talk(tmp_path)
    day = today(tmp_path)
    for path in (tmp_path / content.CAPTURES).rglob("*.sealed"):
        path.unlink()
    assert f"2 sealed texts that records of {day} name are missing" in check(tmp_path).text()
    [key] = (tmp_path / content.DIGESTS).iterdir()
    data = key.read_bytes()
    key.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert check(tmp_path).exit_code() == 1
    assert "it was altered" in check(tmp_path).text()
    key.unlink()
    report = check(tmp_path)
    assert (codes(report), report.exit_code()) == (["sealed", "sealed"], 2)
    assert f"digests/{key.name} is missing, and no erasure record tells of it" in report.text()
    key.symlink_to("/dev/zero")
    assert "cannot be read" in check(tmp_path).text()
    key.unlink()
    ledger = Ledger.open(settings(tmp_path))
    ledger.erase(day, "asked_for")
    ledger.close()
    assert codes(check(tmp_path)) == []


def test_names_that_lead_elsewhere_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of a writer that was taken over."""
    talk(tmp_path)
    forger = Forger(tmp_path, steal(tmp_path, mac_at=0, signing=True))
    for record in forger.records:
        if "capture" in record["body"]:
            record["body"]["capture"] = "../../digests"
            record["t"] = 10**25
        if record["body"].get("action") == "digest_key":
            record["body"]["target"] = "../reviewer.key"
    forger.rebuild()
    report = check(tmp_path)
    assert set(codes(report)) == {"sealed"}
    assert "2 sealed texts" in report.text()
    assert moment_text(10**25) == str(10**25)


def test_altered_sealed_content_is_refused(tmp_path: Path) -> None:
    talk(tmp_path)
    paths = sorted((tmp_path / content.CAPTURES).rglob("*.sealed"))
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CannotVerifyError, match="was altered"):
        opened(tmp_path)


def test_a_pipe_in_place_of_a_sealed_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    talk(tmp_path)
    opener = Opener(lambda _number, _body: True)
    verify(tmp_path, all_keys(tmp_path), CODEC, each(opener.see))
    for path in [*(tmp_path / content.CAPTURES).rglob("*.sealed"), *(tmp_path / content.DIGESTS).iterdir()]:
        path.unlink()
        os.mkfifo(path)
    log = layout.log_of(vkey(tmp_path).name)
    with pytest.raises(SegmentError, match="is not an ordinary file"):
        list(opener.contents(tmp_path, log, reviewer(tmp_path)))
    with pytest.raises(SegmentError, match="is not an ordinary file"):
        digest_keys(tmp_path, log, reviewer(tmp_path))


def test_a_key_of_the_last_day_that_there_is_may_be_asked_for_no_later_one(tmp_path: Path) -> None:
    """Anybody can seal a file to the reviewer, and name it as they like."""
    talk(tmp_path)
    log = layout.log_of(vkey(tmp_path).name)
    info = content.digest_key_info(log, "9999-12-31")
    forged = envelope.seal(reviewer(tmp_path).public, bytes(32), info)
    (tmp_path / content.DIGESTS / f"9999-12-31-00000000{content.SUFFIX}").write_bytes(forged)
    assert "9999-12-31" in digest_keys(tmp_path, log, reviewer(tmp_path)).by_day


def test_another_reviewer_opens_nothing(tmp_path: Path) -> None:
    talk(tmp_path / "one")
    talk(tmp_path / "two")
    stranger, log = reviewer(tmp_path / "two"), layout.log_of(all_keys(tmp_path / "one").vkey.name)
    with pytest.raises(CannotVerifyError, match="does not open it"):
        digest_keys(tmp_path / "one", log, stranger)
    opener = Opener(lambda *_: True)
    verify(tmp_path / "one", all_keys(tmp_path / "one"), CODEC, each(opener.see))
    with pytest.raises(CannotVerifyError, match="does not open it"):
        list(opener.contents(tmp_path / "one", log, stranger))


def test_a_long_text_is_sealed_in_pieces_that_hold_together(tmp_path: Path) -> None:
    """None can be cut off, moved or doubled, even by someone who names the file and its record anew."""
    text = bytes(range(256)) * 1000
    ledger = Ledger.open(settings(tmp_path))
    capture = ledger.begin_capture("req-1", "answer")
    due = [capture.add(text[at : at + 50_000]) for at in range(0, len(text), 50_000)]
    capture.seal()
    name = capture.finish()
    capture.close()
    ledger.close()
    assert due == [False, True, True, True, True, True]
    data = next((tmp_path / content.CAPTURES).rglob("*.sealed")).read_bytes()
    log = layout.log_of(all_keys(tmp_path).vkey.name)
    info, secret = content.capture_info(log, "req-1", "answer"), reviewer(tmp_path)
    pieces = content.pieces_of(data)
    assert (content.sealed_name(data), len(pieces)) == (name, 4)
    assert _unseal(data, info, secret) == text

    def file(*chosen: bytes) -> bytes:
        return b"".join(len(piece).to_bytes(4, "big") + piece for piece in chosen)

    one, two, three, four = pieces
    for forged in (
        file(one, two, three),
        file(two, one, three, four),
        file(one, two, two, four),
        file(four),
        data[:-1],
    ):
        with pytest.raises(ValueError):
            _unseal(forged, info, secret)
    with pytest.raises(SealError):
        _unseal(data, content.capture_info(log, "req-2", "answer"), secret)


def test_an_unfinished_capture_stays_sealed(tmp_path: Path) -> None:
    ledger = Ledger.open(settings(tmp_path))
    capture = ledger.begin_capture("req-1", "answer")
    capture.add(PROMPT * 4000)
    capture.seal()
    capture.close()
    capture.close()
    [left] = (tmp_path / content.CAPTURES).rglob("*.part")
    assert b"CANARY" not in left.read_bytes()
    assert ledger.erase(left.parent.name, "asked_for") == 1
    assert ledger.digester("alice").hexdigest() == ledger.digest("alice", b"") == ledger.digester("alice").hexdigest()
    ledger.close()


def test_a_ledger_without_digests_has_no_keys(tmp_path: Path) -> None:
    Ledger.open(settings(tmp_path)).close()
    assert matches(tmp_path, PROMPT) == []


@pytest.mark.parametrize("size", [1983, 1984, 1985, 2048, 3 * 1984, 3 * 1984 + 1, 256 * 1024, 256 * 1024 + 1, 600_000])
def test_long_texts_too(size: int) -> None:
    key, text = bytes(range(32)), bytes(at * 7 % 251 for at in range(size))
    assert content.CallerDigest(key).of_each([b"", text, text]) == [
        content.content_mac(key, each) for each in (b"", text, text)
    ]
