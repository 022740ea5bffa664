"""The closed list of what a record's body may hold, and of which type: content has no field to slip in by.

Strings are names, reasons and digests; `bodies` says how they are spelled. Fields without a default are required.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from router.audit.kinds import Kind

MOST_NAME: Final = 128
MOST_NAMES: Final = 64
Name: TypeAlias = Annotated[str, Meta(max_length=MOST_NAME)]
Names: TypeAlias = Annotated[list[Name], Meta(max_length=MOST_NAMES)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what every JSON reader holds exactly
Millis: TypeAlias = float  # to the microsecond; -1.0: it never happened
# Hexadecimal: keyed, or of ciphertext, never of content. A pattern here is a search in Python for each: see DIGESTS.
Digest: TypeAlias = Annotated[str, Meta(min_length=16, max_length=128)]
Digests: TypeAlias = Annotated[list[Digest], Meta(max_length=MOST_NAMES)]
Sealed: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9+/]{4,8192}={0,2}$")]  # base64


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all bodies have in common: nothing that is not listed."""


class Start(Body):
    version: Name
    pid: Count
    boot: Name
    durability: Name
    previous: Name  # how the process before ended: first, clean, crashed
    reviewer: Name  # where the reviewer's secret key lies: offline, on_this_machine
    heartbeat_s: Count
    checkpoint_every: Count


class Stop(Body):
    reason: Name
    open: Count  # decisions without an outcome


class Policy(Body):
    digest: Name
    source: Name | UnsetType = UNSET
    previous: Name | UnsetType = UNSET
    actor: Name | UnsetType = UNSET


class Enforcement(Body):
    process: Name
    level: Name
    seal: Name | UnsetType = UNSET
    pid: Count | UnsetType = UNSET
    kernel: Name | UnsetType = UNSET
    passed: Names | UnsetType = UNSET
    failed: Names | UnsetType = UNSET
    machine: Name | UnsetType = UNSET
    landlock: Count | UnsetType = UNSET  # its version
    notes: Names | UnsetType = UNSET
    environment: Names | UnsetType = UNSET  # names of variables, no values
    path_files: Names | UnsetType = UNSET  # what runs at every start of Python: name, SHA-256


class Probe(Body):
    upstream: Name
    state: Name
    tier: Name | UnsetType = UNSET
    backend: Name | UnsetType = UNSET
    software: Name | UnsetType = UNSET
    address: Name | UnsetType = UNSET
    status: Count | UnsetType = UNSET
    reason: Name | UnsetType = UNSET
    cold: bool | UnsetType = UNSET
    ms: Millis | UnsetType = UNSET


class Decision(Body):
    request_id: Name
    caller: Name
    model: Name
    endpoint: Name
    upstream: Name
    policy: Name  # its digest
    reason: Name
    served_model: Name | UnsetType = UNSET
    tier: Name | UnsetType = UNSET
    reach: Name | UnsetType = UNSET
    address: Name | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET
    body_bytes: Count | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    prompt_mac: Digest | UnsetType = UNSET
    message_macs: Digests | UnsetType = UNSET
    capture: Digest | UnsetType = UNSET


class Outcome(Body):
    decision: Count
    ending: Name
    status: Count | UnsetType = UNSET
    sent_bytes: Count | UnsetType = UNSET
    received_bytes: Count | UnsetType = UNSET
    resent: Count | UnsetType = (
        UNSET  # so often the request went out again, a kept connection having been closed unread
    )
    first_byte_ms: Millis | UnsetType = UNSET
    total_ms: Millis | UnsetType = UNSET
    tokens_in: Count | UnsetType = UNSET
    tokens_out: Count | UnsetType = UNSET
    address: Name | UnsetType = UNSET
    answer_mac: Digest | UnsetType = UNSET
    capture: Digest | UnsetType = UNSET


class Denial(Body):
    request_id: Name
    caller: Name
    model: Name
    endpoint: Name
    reason: Name
    param: Name | UnsetType = UNSET
    reach: Name | UnsetType = UNSET
    policy: Name | UnsetType = UNSET
    tier: Name | UnsetType = UNSET
    upstream: Name | UnsetType = UNSET
    body_bytes: Count | UnsetType = UNSET


class Heartbeat(Body):
    open: Count


class KeyEpoch(Body):
    suite: Name
    sealed: Sealed
    reviewer: Digest
    boot: Name
    sig: Sealed


class Checkpoint(Body):
    size: Count
    root: Digest
    sig: Sealed
    oldest_open: Count


class RecoveryGap(Body):
    bytes: Count
    reason: Name
    lost_from: Count
    quarantine: Name | UnsetType = UNSET
    log: Digest | UnsetType = UNSET  # the log that was given up for this one
    signed: Count | UnsetType = UNSET  # how many records its newest checkpoint signs for


class Erasure(Body):
    subject: Name
    reason: Name
    actor: Name | UnsetType = UNSET
    day: Name | UnsetType = UNSET
    count: Count | UnsetType = UNSET
    kept_from: Count | UnsetType = UNSET  # of segments: the first record that is kept


class Reload(Body):
    result: Name
    digest: Name | UnsetType = UNSET
    previous: Name | UnsetType = UNSET
    source: Name | UnsetType = UNSET
    reason: Name | UnsetType = UNSET
    actor: Name | UnsetType = UNSET


class Admin(Body):
    action: Name
    actor: Name | UnsetType = UNSET
    target: Name | UnsetType = UNSET
    result: Name | UnsetType = UNSET
    digest: Digest | UnsetType = UNSET


FORMS: Final[Mapping[Kind, type[Body]]] = {
    Kind.START: Start,
    Kind.STOP: Stop,
    Kind.POLICY: Policy,
    Kind.ENFORCEMENT: Enforcement,
    Kind.PROBE: Probe,
    Kind.DECISION: Decision,
    Kind.OUTCOME: Outcome,
    Kind.DENIAL: Denial,
    Kind.HEARTBEAT: Heartbeat,
    Kind.KEY_EPOCH: KeyEpoch,
    Kind.CHECKPOINT: Checkpoint,
    Kind.RECOVERY_GAP: RecoveryGap,
    Kind.ERASURE: Erasure,
    Kind.RELOAD: Reload,
    Kind.ADMIN: Admin,
}
# what is a Digest or Digests above: a test compares
DIGESTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.DECISION: ("prompt_mac", "message_macs", "capture"),
    Kind.OUTCOME: ("answer_mac", "capture"),
    Kind.KEY_EPOCH: ("reviewer",),
    Kind.CHECKPOINT: ("root",),
    Kind.RECOVERY_GAP: ("log",),
    Kind.ADMIN: ("digest",),
}
MILLIS: Final = {Kind.OUTCOME: ("first_byte_ms", "total_ms"), Kind.PROBE: ("ms",)}  # what is Millis above
