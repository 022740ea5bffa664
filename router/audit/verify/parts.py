"""Segments checked each by itself, and joined: for who waits, several processes at once.

Each segment begins with a key of its own, so no key comes from the one before. What a segment alone cannot say (its
place, its link, the tree's roots, whose outcomes its first ones are, how long a silence may be) is asked when it is
joined to those before it. Where anything is not as it must be, nothing is concluded from the parts: the whole is
verified in order, which tells what is wrong and where, as if nobody had tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from router.audit.format.notes import Checkpoint, VerifierKey
from router.audit.format.seal import ReviewerSecret
from router.audit.format.segments import SegmentError, list_segments, segment_lines
from router.audit.verify.batch import Batch
from router.audit.verify.check import Checks, begin, conclude
from router.audit.verify.findings import Finding, Report, Weight
from router.audit.verify.keys import Keys
from router.audit.verify.leaves import LeafFile, Leaves
from router.audit.verify.lines import Codec, parse_line
from router.audit.verify.macs import MacCheck
from router.audit.verify.sealed import SealedCheck, SealedPart
from router.audit.verify.story import Chapter, Story
from router.audit.verify.stream import Stream
from router.audit.verify.tree import signed_checkpoint


class Task(NamedTuple):
    """What a process is told: values only. `secret`: the reviewer's, if it is at hand."""

    directory: Path
    log: str
    vkey: VerifierKey
    secret: bytes | None
    codec: Codec
    first: int
    path: Path
    scratch: Path  # where its leaves go


class Part(NamedTuple):
    """A segment in which nothing was altered, as far as can be said without those before it."""

    opening: Batch  # its first record alone
    epoch: int  # of its last record
    leaves: Leaves  # of its records
    size: int  # bytes
    checked: int  # MACs
    unkeyed: int
    checkpoints: list[tuple[int, Checkpoint]]  # signed; and how many of its records lie before each
    chapter: Chapter
    sealed: SealedPart
    findings: list[Finding]
    counts: dict[str, int]


Run: TypeAlias = Callable[[Iterable[Task]], Iterator[Part | None]]


def verify_parts(directory: Path, keys: Keys, codec: Codec, run: Run, scratch: Path) -> Report | None:
    """What verify() says, or None: then it must be asked. `run` does examine() for each task, wherever it likes, and
    gives what comes of it in the order of the tasks. `scratch`: a folder for files, left empty if not None comes of it.
    OSError if these cannot be written.
    """
    checks = begin(directory, keys, codec)
    secret = keys.reviewer.raw if keys.reviewer is not None else None
    segments = list_segments(directory)
    tasks = [Task(directory, checks.report.log, keys.vkey, secret, codec, *segment, scratch) for segment in segments]
    pruned = checks.stream.index > 0
    for part in run(tasks):
        if part is None or not _join(checks, part, pruned=pruned):
            return None
        pruned = False
    return conclude(checks, keys)


def examine(task: Task) -> Part | None:
    """Check one segment; None if anything was altered, or if it does not begin as a segment does."""
    report = Report("")
    stream = Stream(task.directory, task.log, task.codec, report.add)
    try:
        row = parse_line(next(segment_lines(task.path)).removesuffix(b"\n"))
        stream.start_at(task.first, bytes.fromhex(row.prev))
    except (OSError, SegmentError, ValueError, RecursionError, StopIteration):
        return None
    with LeafFile(task.scratch / task.path.name) as leaves:
        return _examine(task, stream, leaves, report)


def _examine(task: Task, stream: Stream, leaves: LeafFile, report: Report) -> Part | None:
    reviewer = ReviewerSecret(task.secret) if task.secret is not None else None
    macs = MacCheck(task.log, task.vkey, reviewer, report.add)
    story, sealed = Story(task.first, report.add, apart=True), SealedCheck(task.directory, report.add)
    checkpoints, opening = list[tuple[int, Checkpoint]](), None
    for batch in stream.segment(task.first, task.path):
        opening = opening or batch
        macs.see(batch)
        story.see(batch)
        sealed.see(batch)
        stated = [(at, signed_checkpoint(task.vkey, batch.record(at))) for at in _checkpoints(batch)]
        checkpoints += [(leaves.size + at, checkpoint) for at, checkpoint in stated if checkpoint is not None]
        leaves.add(batch.leaves)
        if report.counts.get(Weight.TAMPERED) or None in dict(stated).values():
            return None
    if opening is None or opening.columns.kinds[0] != "key_epoch":
        return None
    told = (macs.checked, macs.unkeyed, checkpoints, story.chapter(), sealed.part(), report.findings, report.counts)
    return Part(opening, stream.epoch, leaves.leaves(), stream.bytes, *told)


def _checkpoints(batch: Batch) -> list[int]:
    """Where they stand in it."""
    return [at for at, kind in enumerate(batch.columns.kinds) if kind == "checkpoint"]


def _join(checks: Checks, part: Part, *, pruned: bool) -> bool:
    """Whether the part continues what was joined so far, and nothing is wrong."""
    report, stream, macs, tree, story, sealed = checks
    opening, leaves = part.opening, part.leaves
    if (opening.first, opening.prev) != (stream.index, stream.prev):
        return False
    if opening.epoch != stream.epoch + 1 and not pruned:
        return False
    of_opening = [finding for finding in part.findings if finding.record == opening.first]
    for finding in of_opening:
        report.add(finding)
    story.see(opening)
    for finding in part.findings[len(of_opening) :]:
        report.add(finding)
    _count(report, part)
    stream.skip(opening.first + leaves.size, part.epoch, leaves.last, part.size)
    macs.checked += part.checked
    macs.unkeyed += part.unkeyed
    sound = tree.join(leaves.blocks(), part.checkpoints) and story.join(part.chapter) and sealed.join(part.sealed)
    return sound and not report.counts.get(Weight.TAMPERED)


def _count(report: Report, part: Part) -> None:
    """The findings that the part has counted and not kept."""
    kept = [str(finding.weight) for finding in part.findings]
    for weight, count in part.counts.items():
        report.counts[weight] = report.counts.get(weight, 0) + count - kept.count(weight)
