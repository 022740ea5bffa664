"""The verification of one ledger, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from router.audit.format import layout
from router.audit.format.cosignature import CosignerKey
from router.audit.format.notes import Checkpoint, open_checkpoint
from router.audit.format.segments import list_segments, read_small
from router.audit.format.tiles import HashReader, TileError, TileStack
from router.audit.verify.batch import Batch, Record
from router.audit.verify.findings import CannotVerifyError, Finding, Report, Weight
from router.audit.verify.keys import CHECKPOINT_FILE, Keys, Note
from router.audit.verify.lines import STANDARD, Codec
from router.audit.verify.macs import MacCheck
from router.audit.verify.sealed import SealedCheck
from router.audit.verify.story import Story
from router.audit.verify.stream import Stream
from router.audit.verify.tree import TreeCheck

ML_DSA_SINCE = 50  # tested with; older ones lack it
Sink = Callable[[Batch], None]


def each(see: Callable[[Record], None]) -> Sink:
    """A sink of single records."""

    def sink(batch: Batch) -> None:
        for record in batch.records():
            see(record)

    return sink


class Checks(NamedTuple):
    """All that looks at the records of one ledger, and what they say."""

    report: Report
    stream: Stream
    macs: MacCheck
    tree: TreeCheck
    story: Story
    sealed: SealedCheck


def verify(directory: Path, keys: Keys, codec: Codec = STANDARD, sink: Sink | None = None) -> Report:
    """Check everything that the keys at hand allow; `sink` sees all checked records, until one is tampered with.

    CannotVerifyError if the directory holds no ledger.
    """
    checks = begin(directory, keys, codec)
    report, stream, macs, tree, story, sealed = checks
    for batch in stream.batches():
        macs.see(batch)
        tree.see(batch)
        story.see(batch)
        sealed.see(batch)
        if sink is not None and not report.counts.get(Weight.TAMPERED):
            sink(batch)
    return conclude(checks, keys)


def begin(directory: Path, keys: Keys, codec: Codec) -> Checks:
    """Before the first record. CannotVerifyError as verify() says."""
    report = Report(str(directory))
    try:
        report.log, report.origin = layout.log_of(keys.vkey.name), keys.vkey.name
        stream = Stream(directory, report.log, codec, report.add)
        reader = HashReader(directory)
        begun = _start(reader, list_segments(directory), stream)
        tree = TreeCheck(keys, _notes(directory, keys, report), begun, reader, report.add)
    except (OSError, ValueError) as error:
        raise CannotVerifyError(f"{directory} cannot be read as a ledger: {error}") from error
    macs = MacCheck(report.log, keys.vkey, keys.reviewer, report.add)
    report.first = stream.index
    story = Story(report.first, report.add)
    return Checks(report, stream, macs, tree, story, SealedCheck(directory, report.add))


def conclude(checks: Checks, keys: Keys) -> Report:
    """After the last one."""
    report, stream, macs, tree, story, sealed = checks
    tree.finish()
    story.finish()
    sealed.finish()
    report.records, report.segments, report.bytes = stream.index - report.first, stream.segments, stream.bytes
    report.root = tree.root.hex()
    _conclude(report, keys, macs, tree, story)
    return report


def _start(reader: HashReader, segments: list[tuple[int, Path]], stream: Stream) -> TileStack:
    """A tree to begin with: empty, or, where old records were pruned, from the tiles that stand in for them."""
    if not segments or not segments[0][0]:
        return TileStack()
    first = segments[0][0]
    try:
        stream.start_at(first, reader.leaves(first - 1, first)[0])
        return reader.stack(first)
    except TileError:
        raise CannotVerifyError(
            f"the log begins at record {first}, and no tiles stand in for those before it"
        ) from None


def _notes(directory: Path, keys: Keys, report: Report) -> tuple[Note, ...]:
    """The reviewer's own notes, and the newest checkpoint that lies beside the log."""
    path = directory / layout.CHECKPOINT
    try:
        note = read_small(path).decode()
        found = open_checkpoint(note, keys.vkey)
        if keys.cosigner is not None:
            _check_second(keys.cosigner, found, note, report)
    except OSError:
        report.add(
            Finding(Weight.TAMPERED, "checkpoint", "the checkpoint file is missing: the writer always keeps one")
        )
        return keys.notes
    except ValueError as error:
        report.add(Finding(Weight.TAMPERED, "checkpoint", f"the checkpoint file: {error}"))
        return keys.notes
    return (*keys.notes, Note(found.size, found.root, CHECKPOINT_FILE))


def _check_second(cosigner: CosignerKey, found: Checkpoint, note: str, report: Report) -> None:
    try:
        cosigner.check(found, note)
    except ImportError:
        told = f"the ML-DSA-44 signature was not checked: that needs cryptography {ML_DSA_SINCE} or newer"
        report.add(Finding(Weight.UNCHECKED, "post-quantum", told))
        return
    report.checks["post-quantum"] = f"the newest checkpoint is also signed with ML-DSA-44, {found.size} records"


def _conclude(report: Report, keys: Keys, macs: MacCheck, tree: TreeCheck, story: Story) -> None:
    """What was checked with which key, and what was not."""
    checks, add = report.checks, report.add
    checks["chain"] = f"{report.records} records, each bound to the one before"
    signer = f"{keys.vkey.name}+{keys.vkey.key_hash.hex()}"
    checks["tree"] = f"signed by {signer} up to record {tree.signed}, root {report.root}"
    if keys.reviewer is None:
        add(Finding(Weight.UNCHECKED, "macs", "MACs were not checked: give the reviewer's key with --key"))
    else:
        checks["MACs"] = f"{macs.checked} checked with the reviewer's key {keys.reviewer.public.id}"
    if macs.unkeyed and keys.reviewer is not None:
        add(Finding(Weight.UNCHECKED, "macs", f"{macs.unkeyed} records belong to epochs whose key did not open"))
    if keys.reviewer_beside:
        told = "the reviewer's key lies beside the log: move reviewer.key to another machine"
        add(Finding(Weight.UNCHECKED, "custody", told))
    if not keys.pinned:
        told = "the log's public key was taken from the log itself: pin it with --vkey"
        add(Finding(Weight.UNCHECKED, "pin", told))
    own = [note for note in tree.kept if note in keys.notes]
    if own:
        checks["notes"] = f"{len(own)} of {len(keys.notes)} numbers from outside agree, up to record {own[-1].size}"
    if not keys.notes:
        told = "no number from outside: a cut or rollback to an older whole state cannot be seen; see `audit anchor`"
        add(Finding(Weight.UNCHECKED, "anchor", told))
    checks["story"] = ", ".join(f"{count} {kind}" for kind, count in sorted(story.kinds.items()) if kind)
