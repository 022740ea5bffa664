"""What was proved, as one value: as JSON for programs, as a signed note for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from router.audit.format import layout
from router.audit.format.notes import Signer, parse_vkey
from router.prove.packets import Target
from router.prove.witness import Seen


@dataclass(frozen=True, slots=True)
class Done:
    """One step: its status, and whether that is right."""

    name: str
    result: str
    good: bool


@dataclass(frozen=True, slots=True)
class Report:
    """`listed`: where bytes may go, and what is there. Everything else that was tried is a leak."""

    steps: tuple[Done, ...]
    seen: Seen
    listed: Mapping[Target, str]
    names: frozenset[str]  # that may be looked up
    asked: frozenset[str]  # that were

    @property
    def leaks(self) -> tuple[Target, ...]:
        """Of either witness; but not where a process connected to itself on loopback and sent no byte: that is how the
        seal attacks itself before it serves.
        """
        tried = self.seen.bytes.keys() | (self.seen.kernel or frozenset())
        return tuple(sorted(target for target in tried - self.listed.keys() if not self._is_attack(target)))

    def _is_attack(self, target: Target) -> bool:
        return target.address == "127.0.0.1" and self.seen.bytes.get(target) == 0

    @property
    def leaked_names(self) -> tuple[str, ...]:
        return tuple(sorted(self.asked - self.names))

    @property
    def disagree(self) -> tuple[Target, ...]:
        """TCP and UDP that one witness saw and the other did not: then neither can be trusted."""
        if self.seen.kernel is None:
            return ()
        read = {target for target in self.seen.bytes if target.protocol in ("tcp", "udp")}
        return tuple(sorted(read ^ self.seen.kernel))

    @property
    def good(self) -> bool:
        """No leak, and nothing that makes that doubtful: a step not taken, a packet not seen, nothing seen at all."""
        doubts = self.leaks or self.leaked_names or self.disagree or self.seen.lost or not self.seen.bytes
        return not doubts and all(step.good for step in self.steps)

    def document(self) -> dict[str, Any]:
        """For programs."""
        rows = [
            {**asdict(target), "bytes": self.seen.bytes.get(target, 0), "listed_as": self.listed.get(target, "")}
            for target in sorted(self.seen.bytes.keys() | set(self.leaks))
            if not self._is_attack(target)
        ]
        return {
            "good": self.good,
            "leaks": len(self.leaks) + len(self.leaked_names),
            "destinations": rows,
            "self_attacks": sum(self._is_attack(target) for target in self.seen.bytes),
            "names_asked": sorted(self.asked),
            "names_leaked": list(self.leaked_names),
            "witnesses": ["packet socket", *(["nftables"] if self.seen.kernel is not None else [])],
            "witnesses_disagree": [asdict(target) for target in self.disagree],
            "packets_lost": self.seen.lost,
            "steps": [asdict(step) for step in self.steps],
        }

    def text(self) -> str:
        """For people, and to be signed: it holds the digest of the JSON."""
        document = self.document()
        digest = hashlib.sha256(as_json(document)).hexdigest()
        witnesses = " and ".join(document["witnesses"])
        lines = [
            "ringfence prove v1",
            f"verdict: {'nothing left but to the list' if self.good else 'NOT PROVED'}",
            f"leaks: {document['leaks']}; packets not seen: {self.seen.lost}; witnesses: {witnesses}",
            f"report.json sha256: {digest}",
            "destinations tried, and the bytes that they were sent:",
            *(
                f"  {row['address']} {row['protocol']}/{row['port']}: {row['bytes']} bytes, "
                f"{row['listed_as'] or 'LEAK: not listed'}"
                for row in document["destinations"]
            ),
            f"connections of the seal's attacks on itself (loopback, no byte sent): {document['self_attacks']}",
            f"names asked of DNS: {', '.join(sorted(self.asked)) or 'none'}",
            *(f"LEAK: the name {name[:100]!r} is not listed" for name in self.leaked_names),
            *(f"the witnesses disagree about {target}" for target in self.disagree),
            f"steps: {len(self.steps)}, as wanted: {sum(step.good for step in self.steps)}",
            *(f"  NOT AS WANTED {step.name}: {step.result}" for step in self.steps if not step.good),
        ]
        return "\n".join(lines) + "\n"


def as_json(document: Mapping[str, Any]) -> bytes:
    """The bytes of report.json."""
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def write(report: Report, directory: Path) -> None:
    """report.json and report.txt, a note signed by the key of the ledger that the driven service wrote."""
    (directory / "report.json").write_bytes(as_json(report.document()))
    ledger = directory / "ledger"
    name = parse_vkey((ledger / layout.VKEY).read_text()).name
    signer = Signer(name, (ledger / layout.SIGNING_KEY).read_bytes())
    (directory / "report.txt").write_text(signer.note(report.text()), encoding="utf-8")
