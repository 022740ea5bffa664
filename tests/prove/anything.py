"""Any bytes against the whole, real service: `python -m tests.prove.anything DIRECTORY EXAMPLES [leaky]`, isolated.

Requests are well-formed ones, odd ones and garbage, with bytes of theirs changed, taken out or put in; after each of
them the packet socket says where anything was sent so far. Hypothesis finds the shortest bytes that lead off the list.
`leaky`: the service leaks when it is asked for a model with `q` in its name, to see that it would be found.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from router.prove.inside import LISTED, open_internet
from router.prove.packets import Target
from router.prove.report import Report
from router.prove.service import Service
from router.prove.stage import set_up
from router.prove.steps import HOSTILE_ENVIRONMENT, NAMES
from router.prove.witness import Witness, without
from tests.prove.planted import in_child, plain_socket
from tests.router.test_anything import odd, taken

POLICY = """
hosts: {table.prove.example: [10.1.2.6]}
upstreams:
  first: {url: "http://10.1.2.3:8000/v1"}
  second: {url: "http://10.1.2.4:8000/v1"}
  named: {url: "http://gpu.prove.example:8001/v1", addresses: [10.1.2.0/24]}
  table: {url: "http://table.prove.example:8001/v1"}
tiers:
- {name: near, upstreams: [first, second]}
- {name: far, upstreams: [named, table]}
models: {m: {tiers: [near, far]}, f: {tiers: [far]}}
"""
SILENT_S = 0.15  # with no more bytes for so long, an answer is over, or none comes
Change = tuple[int, int, bytes]


def changed(request: bytes, changes: list[Change]) -> bytes:
    """At each place (counted from the end when negative) so many bytes are taken out, and others put in."""
    for place, out, put in changes:
        at = place % (len(request) + 1)
        request = request[:at] + put + request[at + out :]
    return request


places = st.integers(-60, 400)
pieces = st.binary(max_size=3) | st.sampled_from(
    [b"\r\n", b"\r\n\r\n", b"\0", b" ", b":", b"//", b"@", b'"', b"\\u0000"]
)
changes = st.lists(st.tuples(places, st.sampled_from([0, 0, 1, 2, 16]), pieces), max_size=3)
requests = st.one_of(
    taken, st.builds(changed, taken, changes), st.builds(changed, odd, changes), st.binary(max_size=300)
)


@dataclass(slots=True)
class Town:
    """The service under test and who watches it."""

    service: Service
    witness: Witness
    leaky: bool
    sent: int = 0

    def off_the_list(self) -> set[Target]:
        """Where something went that is neither listed nor our own calls to the service's door, nor the seal's attacks
        on itself, which are over when it serves.
        """
        door = {Target("127.0.0.1", "tcp", port) for port in self.service.ports}
        others = self.witness.tried() - LISTED.keys() - door
        return {target for target in others if target.address != "127.0.0.1"}

    def talk(self, data: bytes) -> None:
        self.sent += 1
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.service.port), 2) as sock:
            sock.sendall(data)
            sock.settimeout(SILENT_S)
            while sock.recv(65536):
                pass
        if self.leaky and b"q" in data:
            in_child(plain_socket)


def fuzz(town: Town, examples: int) -> str:
    """The error that the property ended in; "" when it held for every example."""

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(requests)
    def nobody_off_the_list_gets_a_byte(data: bytes) -> None:
        town.talk(data)
        assert not town.off_the_list(), data

    try:
        nobody_off_the_list_gets_a_byte()
    except AssertionError as error:
        return str(error) or "assertion"
    return ""


def main() -> None:
    directory, examples, leaky = Path(sys.argv[1]), int(sys.argv[2]), "leaky" in sys.argv[3:]
    set_up(directory)
    internet, witness = open_internet(), Witness()
    (directory / "policy.yaml").write_text(POLICY)
    service = Service(directory, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **HOSTILE_ENVIRONMENT})
    town = Town(service, witness, leaky)
    error = fuzz(town, examples)
    alive = service.ready()
    code = service.stop()
    seen = without(witness.seen(), {Target("127.0.0.1", "tcp", port) for port in service.ports})
    report = Report((), seen, LISTED, frozenset(NAMES), frozenset(internet.asked))
    print(
        json.dumps(
            {
                "error": error, "alive": alive, "stopped": code, "sent": town.sent, "verified": service.verify(),
                "leaks": [str(target) for target in report.leaks], "names": list(report.leaked_names),
                "disagree": len(report.disagree), "lost": seen.lost,
                "reached": {LISTED[target]: count for target, count in seen.bytes.items() if target in LISTED},
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
