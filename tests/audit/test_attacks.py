"""The adversary matrix: every attack is done to a real log, with stated loot, and the matrix says who sees it.

Reviewers differ in what they hold: the files alone; also the reviewer's secret key (MACs); also the log's public key,
pinned, and with it the checkpoint beside the log; also one number noted outside the machine.
What cannot be seen is asserted to be unseen, so that the documentation's list of limits is proven, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from router.audit import Ledger, LedgerError
from router.audit.format import layout
from router.audit.format.segments import list_segments, segment_lines
from router.audit.format.tiles import HashReader
from router.audit.show import Filter, show_records
from router.audit.verify.keys import Keys, Note
from tests.audit.attacker import Forger, Loot, Record, steal
from tests.audit.ledgers import agreed, all_keys, build, check, codes, copy, exchange, raw_lines, settings, vkey

FILES, MAC, PINNED, NOTED = "files", "mac", "pinned", "noted"
EVERYBODY = {FILES, MAC, PINNED, NOTED}


@dataclass(frozen=True)
class Case:
    """The untouched ledger, its copy to attack, and what reviewers noted while all was well."""

    good: Path
    bad: Path

    def reviewer(self, who: str) -> Keys:
        keys = all_keys(self.good)
        note = Note(
            len(raw_lines(self.good)), HashReader(self.good).stack(len(raw_lines(self.good))).root(), "notebook"
        )
        return {
            FILES: Keys(vkey(self.bad)),
            MAC: replace(keys, vkey=vkey(self.bad), pinned=False),
            PINNED: keys,
            NOTED: replace(keys, notes=(note,)),
        }[who]

    def seen_by(self) -> set[str]:
        return {who for who in EVERYBODY if agreed(self.bad, self.reviewer(who)).exit_code()}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, one epoch, some 40 records, a checkpoint after every six."""
    return build(tmp_path_factory.mktemp("good") / "ledger", exchanges=15)


@pytest.fixture
def case(untouched: Path, tmp_path: Path) -> Case:
    return Case(untouched, copy(untouched, tmp_path / "ledger"))


def forge(case: Case, edit: Callable[[list[Record]], object], loot: Loot | None = None, **how: bool) -> None:
    forger = Forger(case.bad, loot or Loot(), own_epoch=how.pop("own_epoch", False))
    edit(forger.records)
    forger.rebuild(**how)


def alter(at: int) -> Callable[[list[Record]], None]:
    def edit(records: list[Record]) -> None:
        place = next(i for i in range(at, len(records)) if records[i]["kind"] == "decision")
        records[place]["body"]["upstream"] = "elsewhere"

    return edit


def swap(records: list[Record]) -> None:
    records[8], records[10] = records[10], records[8]


def double(records: list[Record]) -> None:
    place = next(i for i in range(8, len(records)) if records[i]["kind"] == "denial")
    records.insert(place, dict(records[place]))


def delete_denial(records: list[Record]) -> None:
    records[:] = [record for record in records if record["kind"] != "denial"]


def test_the_untouched_log_satisfies_everybody(case: Case) -> None:
    assert case.seen_by() == set()


def test_a_byte_in_place_is_seen_by_everybody(case: Case) -> None:
    segment = list_segments(case.bad)[0][1]
    segment.write_bytes(segment.read_bytes().replace(b"gpu-1", b"gpu-2", 1))
    assert case.seen_by() == EVERYBODY


@pytest.mark.parametrize("edit", [alter(10), delete_denial, double, swap], ids=["alter", "delete", "double", "swap"])
def test_an_edit_with_the_chain_rebuilt_needs_the_macs(case: Case, edit: Callable[[list[Record]], None]) -> None:
    forge(case, edit)
    seen = case.seen_by()
    assert seen >= {MAC, PINNED, NOTED}
    assert FILES not in seen or edit is swap  # swapped records also break the story


@pytest.mark.parametrize("decision", [-1, -(2**62), 2**53 - 1])
def test_an_outcome_of_no_decision_is_seen_by_everybody_whoever_wrote_it(case: Case, decision: int) -> None:
    def add(records: list[Record]) -> None:
        denial = next(record for record in records if record["kind"] == "denial")
        denial.update(kind="outcome", body={"decision": decision, "ending": "completed"})

    forge(case, add, steal(case.good, mac_at=0, signing=True))
    assert case.seen_by() == EVERYBODY


def test_a_stolen_mac_key_does_not_open_the_past(case: Case) -> None:
    """Forward security: the key of record 20 cannot make a MAC for record 10."""
    forge(case, alter(10), steal(case.good, mac_at=20))
    assert case.seen_by() == {MAC, PINNED, NOTED}


def test_a_stolen_mac_key_does_not_open_the_future_alone(case: Case) -> None:
    """The MACed past holds signatures: signing anew changes it, and not signing anew is seen by everybody."""
    forge(case, alter(25), steal(case.good, mac_at=20))
    assert case.seen_by() == {MAC, PINNED, NOTED}


def test_both_keys_open_the_future_but_for_the_notebook(case: Case) -> None:
    forge(case, alter(25), steal(case.good, mac_at=20, signing=True))
    assert case.seen_by() == {NOTED}


def test_both_keys_do_not_open_the_past(case: Case) -> None:
    forge(case, alter(10), steal(case.good, mac_at=20, signing=True))
    assert case.seen_by() == {MAC, PINNED, NOTED}


def test_the_epoch_key_and_the_signing_key_rewrite_anything_but_the_notebook(case: Case) -> None:
    forge(case, alter(3), steal(case.good, mac_at=0, signing=True))
    assert case.seen_by() == {NOTED}


def test_a_stranger_can_seal_but_not_sign(case: Case) -> None:
    """Anyone can seal a key of his own to the reviewer; the pinned public key is what keeps him out."""
    forge(case, alter(3), own_epoch=True)
    assert case.seen_by() == {PINNED, NOTED}


def test_a_cut_tail_with_the_checkpoint_left_is_seen(case: Case) -> None:
    segment = list_segments(case.bad)[-1][1]
    segment.write_bytes(b"".join(list(segment_lines(segment))[:-5]))
    assert case.seen_by() == EVERYBODY  # the checkpoint beside the log tells even those without keys


def cut_at_checkpoint(directory: Path) -> int:
    """The cleanest cut: behind a checkpoint record, whose own signature makes the checkpoint file."""
    lines = raw_lines(directory)
    forger = Forger(directory)
    place = [i for i, record in enumerate(forger.records) if record["kind"] == "checkpoint"][2]
    note = next((directory / "old").glob(f"{place}"))
    list_segments(directory)[0][1].write_bytes(b"".join(lines[: place + 1]))
    shutil.copy(note, directory / layout.CHECKPOINT)
    return place


def test_a_cut_at_a_checkpoint_is_seen_by_the_notebook_alone(tmp_path: Path) -> None:
    """The attacker kept an older checkpoint file: without a number from outside nobody can tell."""
    good = tmp_path / "good"
    ledger = Ledger.open(settings(good))
    kept: dict[str, str] = {}
    for _ in range(15):
        exchange(ledger)
        note = (good / layout.CHECKPOINT).read_text()
        kept[note.split("\n")[1]] = note
    ledger.close()
    case = Case(good, copy(good, tmp_path / "bad"))
    (case.bad / "old").mkdir()
    for size, note in kept.items():
        (case.bad / "old" / size).write_text(note)
    cut_at_checkpoint(case.bad)
    assert case.seen_by() == {NOTED}


def test_the_loss_of_the_closing_checkpoint_record_is_seen_by_anybody(untouched: Path, tmp_path: Path) -> None:
    """No later record covers it: the checkpoint file does, which is not written before it is on the disk."""
    case = Case(untouched, copy(untouched, tmp_path / "bad"))
    segment = list_segments(case.bad)[-1][1]
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))
    assert case.seen_by() == {FILES, MAC, PINNED, NOTED}
    with pytest.raises(LedgerError, match=r"were signed for, which another one after them says: it was cut"):
        Ledger.open(settings(case.bad))


def test_a_rollback_of_the_whole_directory_is_seen_by_the_notebook_alone(untouched: Path, tmp_path: Path) -> None:
    old = copy(untouched, tmp_path / "old")
    build(untouched_later := copy(untouched, tmp_path / "later"), exchanges=5)
    assert Case(untouched_later, old).seen_by() == {NOTED}


def test_all_keys_cut_and_sign_again(case: Case) -> None:
    forge(case, lambda records: records.__delitem__(slice(20, None)), steal(case.good, mac_at=0, signing=True))
    assert case.seen_by() == {NOTED}


def test_truncate_and_resume_is_seen(case: Case) -> None:
    """CVE-2023-31438: cut the log, then let the writer go on. The checkpoint beside it stops the start."""
    segment = list_segments(case.bad)[-1][1]
    segment.write_bytes(b"".join(list(segment_lines(segment))[:-5]))
    with pytest.raises(LedgerError, match="it was cut"):
        Ledger.open(settings(case.bad))


def test_a_record_with_a_later_key_is_refused(case: Case) -> None:
    """CVE-2023-31439: an old record, changed, with a MAC made by a newer key of the same log."""
    loot = steal(case.good, mac_at=20, signing=True)
    forger = Forger(case.bad, replace(loot, mac_from=10))  # the key of record 20, used from record 10 on
    alter(10)(forger.records)
    forger.rebuild()
    assert MAC in case.seen_by()
    report = check(case.bad, case.reviewer(MAC))
    assert sum(finding.code == "mac" for finding in report.findings) == len(forger.records) - 10


def test_a_filtered_view_refuses_what_is_not_whole(case: Case) -> None:
    """CVE-2023-31437: a view that hides that entries are missing."""
    keys = case.reviewer(PINNED)
    report, lines = show_records(case.bad, keys, Filter("denial"), as_json=False)
    assert (report.exit_code(), len(list(lines))) == (0, 1)
    segment = list_segments(case.bad)[0][1]
    segment.write_bytes(b"".join(line for line in segment_lines(segment) if b'"denial"' not in line))
    report, lines = show_records(case.bad, keys, Filter("start"), as_json=False)
    assert (report.exit_code(), list(lines)) == (1, [])


def test_a_segment_of_another_log_is_foreign(case: Case, tmp_path: Path) -> None:
    other = build(tmp_path / "other", exchanges=15)
    shutil.copy(list_segments(other)[0][1], list_segments(case.bad)[0][1])
    assert "foreign" in codes(check(case.bad, case.reviewer(FILES)))
    assert case.seen_by() == EVERYBODY


def test_swapped_segments_are_seen(tmp_path: Path) -> None:
    good = build(tmp_path / "good", exchanges=30, segment_bytes=4000)
    case = Case(good, copy(good, tmp_path / "bad"))
    first, second = (path for _, path in list_segments(case.bad)[1:3])
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert case.seen_by() == EVERYBODY


def test_an_older_segment_put_back_is_seen(case: Case, tmp_path: Path) -> None:
    segment = list_segments(case.bad)[0][1]
    old = segment.read_bytes()[: len(segment.read_bytes()) // 2]
    segment.write_bytes(old[: old.rindex(b"\n") + 1])
    assert case.seen_by() == EVERYBODY


def test_a_checkpoint_by_another_key_is_refused(case: Case, tmp_path: Path) -> None:
    other = build(tmp_path / "other")
    (case.bad / layout.CHECKPOINT).write_text((other / layout.CHECKPOINT).read_text())
    assert case.seen_by() == EVERYBODY


def test_a_deleted_log_is_seen_by_its_absence_only(case: Case) -> None:
    """Everything deleted and begun anew: a sound log, but not that of the pinned key, nor of the note."""
    shutil.rmtree(case.bad)
    build(case.bad)
    assert case.seen_by() >= {PINNED, NOTED}
    assert FILES not in case.seen_by()


def test_the_reviewer_could_forge_macs_but_not_the_signature(case: Case) -> None:
    forge(case, alter(3), steal(case.good, mac_at=0))
    assert case.seen_by() == {PINNED, NOTED}
