"""What the gate counts, in Prometheus' text format (version 0.0.4): names from the policy and figures, nothing else.

No caller is named, and no content can be: labels are tiers, upstreams, states and words of closed lists.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from msgspec import Struct, field

from router.audit.fields import Outcome
from router.channel.states import State, UpstreamReport
from router.gate.admission import Admission

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CERTIFICATE = "ringfence_upstream_certificate_expiry_timestamp_seconds"
MOST_REASONS = 100
_WORD = re.compile(r"[a-z_]{1,64}")
Labels = tuple[tuple[str, str], ...]


class Histogram(Struct):
    """Observations in seconds; `counts` has one bucket more than SECONDS: +Inf."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0


class Metrics:
    """Counters of this gate's life; what is true now (states, loads, queues) is read when asked."""

    def __init__(self) -> None:
        self._exchanges: Counter[tuple[str, str, object, object]] = Counter()  # tier, upstream, ending, status
        self._denials: Counter[Labels] = Counter()
        self._transitions: Counter[Labels] = Counter()
        self._first_byte: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self._duration: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def exchange(self, tier: str, upstream: str, outcome: Outcome) -> None:
        """One exchange is over; `outcome` is its record's body."""
        of, first, total = (tier, upstream), outcome.first_byte_ms, outcome.total_ms
        self._exchanges[tier, upstream, outcome.ending, outcome.status] += 1
        for milliseconds, histograms in ((first, self._first_byte), (total, self._duration)):
            if isinstance(milliseconds, float) and milliseconds >= 0:
                seconds, histogram = milliseconds / 1000, histograms[of]
                histogram.counts[bisect_left(SECONDS, seconds)] += 1
                histogram.total += seconds

    def denial(self, reason: str) -> None:
        """The word may be a worker's, who may be taken over: neither content nor ever new words get in by it."""
        labels: Labels = (("reason", reason),)
        if labels not in self._denials and (len(self._denials) >= MOST_REASONS or not _WORD.fullmatch(reason)):
            labels = (("reason", "other"),)
        self._denials[labels] += 1

    def transition(self, upstream: str, before: State, after: State) -> None:
        self._transitions[("upstream", upstream), ("from", before.value), ("to", after.value)] += 1

    def text(self, reports: Iterable[UpstreamReport], admissions: Mapping[str, Admission]) -> str:
        """The whole exposition."""
        return "\n".join([*self._counted(), *_now(tuple(reports), admissions), ""])

    def _counted(self) -> Iterator[str]:
        exchanges: Counter[Labels] = Counter()
        for (tier, upstream, ending, status), number in self._exchanges.items():
            kind = f"{status // 100}xx" if isinstance(status, int) and status else "none"
            exchanges[*_place((tier, upstream)), ("ending", str(ending)), ("status", kind)] += number
        yield from _family("ringfence_exchanges_total", "counter", "Exchanges by how they ended.", exchanges.items())
        yield from _family("ringfence_denials_total", "counter", "Refused requests by reason.", self._denials.items())
        yield from _family(
            "ringfence_upstream_transitions_total", "counter", "Changes of state.", self._transitions.items()
        )
        yield from _histograms(
            "ringfence_exchange_first_byte_seconds", "From the decision to the first byte of the answer.",
            self._first_byte,
        )  # fmt: skip
        yield from _histograms(
            "ringfence_exchange_duration_seconds", "From the decision to the end of the answer.", self._duration
        )


def _now(reports: tuple[UpstreamReport, ...], admissions: Mapping[str, Admission]) -> Iterator[str]:
    def each(name: str) -> list[tuple[Labels, float]]:
        return [((("upstream", report.name),), getattr(report, name)) for report in reports]

    states = [
        ((("upstream", report.name), ("state", state.value)), float(report.state is state))
        for report in reports
        for state in State
    ]
    queued = [((("tier", name),), float(admission.waiting)) for name, admission in admissions.items()]
    yield from _family("ringfence_upstream_state", "gauge", "1 for the state that it is in.", states)
    yield from _family("ringfence_upstream_in_flight", "gauge", "Exchanges under way.", each("in_flight"))
    yield from _family("ringfence_upstream_failing_ratio", "gauge", "Moving share of failures.", each("failing"))
    ends = [((("upstream", report.name),), report.certificate_ends) for report in reports if report.certificate_ends]
    yield from _family(CERTIFICATE, "gauge", "When the TLS certificate that it showed last ends, UNIX time.", ends)
    yield from _family("ringfence_tier_queued", "gauge", "Requests that wait for a place.", queued)


def _family(name: str, kind: str, about: str, rows: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in sorted(rows):
        yield f"{name}{_labels(labels)} {value:g}" if value % 1 else f"{name}{_labels(labels)} {int(value)}"


def _place(of: tuple[str, str]) -> Labels:
    tier, upstream = of
    return ("tier", tier), ("upstream", upstream)


def _histograms(name: str, about: str, rows: Mapping[tuple[str, str], Histogram]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} histogram"
    for of, histogram in sorted(rows.items(), key=itemgetter(0)):
        labels, count = _place(of), 0
        for bound, number in zip((*SECONDS, None), histogram.counts, strict=True):
            count += number
            le = f"{bound:g}" if bound is not None else "+Inf"
            yield f"{name}_bucket{_labels((*labels, ('le', le)))} {count}"
        yield f"{name}_sum{_labels(labels)} {histogram.total:.6g}"
        yield f"{name}_count{_labels(labels)} {count}"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    """Prometheus' exposition format: backslash, quote and line feed."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
