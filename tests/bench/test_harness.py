"""The bench measures what it says: counts agree on both ends of the wire, and CPU is the kernel's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.exchange import is_over
from bench.gateways.contestant import Place, running
from bench.gateways.limits import FLOOR
from bench.gateways.ours import RINGFENCE
from bench.gateways.processes import Usage, cores, start, stop, usage, wait_for
from bench.gateways.rounds import DIRECT, Row, Stage, costs, one_run
from bench.gateways.scenarios import PACE_US, Scenario, paced
from bench.gateways.summary import costs as costs_by_round
from bench.gateways.summary import floors, goals
from bench.gateways.table import spread, table
from bench.gateways.wire import (
    Answers,
    Load,
    Mock,
    Target,
    Window,
    connects,
    free_ports,
    mock,
    post,
    program,
    run_load,
)
from bench.quick import broken, ratios_to_nginx
from router.channel.frames import Kind as Frame
from router.channel.messages import Cause, Failure, encode
from tests.service import children, command_line, environment, until

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the bench compiles its C programs: no cc here")

DEAREST_CPU_US = 20_000  # ten times what the slowest gateway written in Python was seen to take
WORKERS_CALLS = {"request": 72, "event": 11}  # of Python functions in the worker; lower it when there are fewer
CALLS = 125  # of Python functions for one exchange in the gate, 117 by now; lower it when there are fewer


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    with mock(tmp_path_factory.mktemp("mock"), cores()) as running_mock:
        yield running_mock


def test_requests_are_counted_alike_on_both_ends(upstream: Mock, tmp_path: Path) -> None:
    upstream.answers(Answers(reply=2000))
    before = upstream.seen()["exchanges"]
    sampled = []
    seen = run_load(Load(connections=4), Target(upstream.port), window(), tmp_path, lambda: sampled.append(1))
    assert len(sampled) == 2, "the window opens and closes once"
    assert seen["failed"] == 0
    assert 0 < seen["done"] <= upstream.seen()["exchanges"] - before
    assert seen["latency_us"]["count"] == seen["done"]
    assert 0 < seen["latency_us"]["p50"] <= seen["latency_us"]["p99"] <= seen["latency_us"]["max"]


def test_open_loop_keeps_its_rate_and_counts_waiting(upstream: Mock, tmp_path: Path) -> None:
    """200 requests fall due in a second, however fast they are answered; each time begins when it was due."""
    upstream.answers(Answers())
    began = time.monotonic()
    seen = run_load(Load(connections=8, rate=200), Target(upstream.port), window(1.0), tmp_path, lambda: None)
    assert seen["failed"] == 0
    assert 20 < seen["done"] <= 200 * (time.monotonic() - began) + 1


def test_latency_is_counted_from_when_a_request_was_due(upstream: Mock, tmp_path: Path) -> None:
    """One connection cannot carry what falls due: each answer takes about 40 ms, so the wait grows and is seen."""
    upstream.answers(Answers(events=3, interval_us=20_000))
    load = Load(connections=1, rate=100, stream=True)
    seen = run_load(load, Target(upstream.port), window(1.0), tmp_path, lambda: None)
    assert seen["latency_us"]["max"] > 300_000


def test_every_event_of_a_stream_arrives(upstream: Mock, tmp_path: Path) -> None:
    upstream.answers(Answers(events=50))
    seen = run_load(Load(connections=2, stream=True), Target(upstream.port), window(), tmp_path, lambda: None)
    assert seen["failed"] == 0
    assert seen["whole_streams"] > 0
    assert seen["whole_events"] == seen["whole_streams"] * 51, "50 events and [DONE]"


def test_paced_events_come_at_their_pace(upstream: Mock, tmp_path: Path) -> None:
    scenario = paced(5)
    upstream.answers(scenario.mock_answers(1.5))
    seen = run_load(scenario.load, Target(upstream.port), window(1.0), tmp_path, lambda: None)
    assert seen["failed"] == 0
    assert seen["events"] > 0
    assert PACE_US / 2 < seen["gap_us"]["mean"] < PACE_US * 4


def test_an_answer_that_is_none_counts_as_failed(tmp_path: Path) -> None:
    """A server of status 404 alone: nothing is done, all is failed, and the status is told."""
    port = free_ports()
    server = start([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)], tmp_path, tmp_path / "log")
    try:
        wait_for(lambda: connects(port), 30, "the server")
        seen = run_load(Load(connections=1), Target(port), window(), tmp_path, lambda: None)
    finally:
        stop(server)
    assert seen["done"] == 0
    assert seen["failed"] > 0
    assert seen["last_status"] == 501, "it has no POST"
    assert post(Target(port), Load()) == 0, "nobody is there any more"


def test_cpu_is_the_kernels_for_the_whole_tree(tmp_path: Path) -> None:
    """A child burns half a second of CPU: it is on its parent's account, while it runs and when it has ended."""
    burn = "import time\nwhile time.process_time() < 0.5: pass\nopen('burnt', 'w').close()\ntime.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    process = start([sys.executable, "-c", parent], tmp_path, tmp_path / "log")
    try:
        wait_for((tmp_path / "burnt").exists, 60, "the child to burn its CPU")
        used = usage(process.pid)
        assert 0.5 <= used.cpu_s < 5
        assert used.rss_bytes > 1 << 20
    finally:
        stop(process)


def test_ringfence_is_measured_with_keys_policy_and_ledger_on(upstream: Mock, tmp_path: Path) -> None:
    """Its tree is gate and worker; each request that was answered has two records in the ledger; a key is needed."""
    place = Place(tmp_path / "ringfence", free_ports(), (upstream.port,), tuple(cores()[:1]), keys=2)
    with running(RINGFENCE, place, upstream) as gateway:
        stage = Stage(upstream, [gateway], tmp_path)
        row = one_run(Scenario("self-check", Load(connections=2)), gateway, stage, window(1.0))
        assert post(Target(place.port), Load()) == 401
    assert row["wire"]["failed"] == 0
    assert {"router.gate", "router.worker"} <= row["cpu_us_by_process"].keys()
    assert 0 < row["cpu_us"] < DEAREST_CPU_US
    kinds = [json.loads(line)["kind"] for file in ledger_files(tmp_path) for line in file.read_text().splitlines()]
    assert kinds.count("decision") >= row["wire"]["done"]
    assert kinds.count("decision") == kinds.count("outcome")


def ledger_files(directory: Path) -> list[Path]:
    return sorted((directory / "ringfence" / "ledger" / "segments").glob("*.jsonl"))


@pytest.mark.parametrize("fronts", [1, 2])
def test_the_floor_answers_and_records_as_the_design_asks(upstream: Mock, tmp_path: Path, fronts: int) -> None:
    """Small, large, streamed, and streams that are left: a decision and an outcome for each that was sent."""
    place = Place(tmp_path / "floor", free_ports(), (upstream.port,), tuple(cores()[:1]) * fronts)
    before = upstream.seen()["exchanges"]
    with running(FLOOR, place, upstream) as gateway:
        stage = Stage(upstream, [gateway], tmp_path)
        loads = Load(connections=3), Load(prompt=500_000, connections=3), Load(connections=3, stream=True)
        assert [post(gateway.target, load) for load in loads] == [200, 200, 200]
        rows = [one_run(Scenario("self-check", load, Answers()), gateway, stage, window()) for load in loads]
        upstream.answers(paced(3).mock_answers(60.0))
        rows.append(one_run(paced(3), gateway, stage, window()))
        wait_for(lambda: records(place).count("outcome") == records(place).count("decision"), 30, "the last outcome")
        assert upstream.seen()["exchanges"] - before == records(place).count("decision")
    assert [row["wire"]["failed"] for row in rows] == [0, 0, 0, 0]
    assert sum(row["units_per_s"] for row in rows) > 0
    assert rows[2]["wire"]["whole_events"] == rows[2]["wire"]["whole_streams"] * 65, "64 events and [DONE]"
    assert {*costs_of(rows)} == {"floor", "front"}


def test_the_floor_sends_nothing_that_it_could_not_record(upstream: Mock, tmp_path: Path) -> None:
    before, port = upstream.seen(), free_ports()
    command: list[str | Path] = [
        program("floor"),
        "--port",
        str(port),
        "--upstream",
        str(upstream.port),
        "--ledger",
        "/dev/full",
    ]
    floor = start(command, tmp_path, tmp_path / "log")
    try:
        wait_for(lambda: connects(port), 30, "the floor")
        assert post(Target(port), Load()) == 0
    finally:
        stop(floor)
    assert upstream.seen() == before
    assert "No space left" in (tmp_path / "log").read_text()


def costs_of(rows: list[Row]) -> Iterator[str]:
    for each in rows:
        yield from each.get("cpu_us_by_process", {})


def records(place: Place) -> list[str]:
    """Their kinds; each line is one of JSON."""
    return [json.loads(line)["kind"] for line in (place.directory / "records").read_text().splitlines()]


def test_c_sources_compile_without_a_warning(tmp_path: Path) -> None:
    sources = Path(__file__).parents[2] / "bench" / "wire"
    for source in sources.glob("*.c"):
        command: list[str | Path] = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / source.stem, source]
        subprocess.run(command, check=True, timeout=60)


def window(seconds: float = 0.3) -> Window:
    return Window(0.1, seconds, cores())


# --- what is made of the rows ---


def row(gateway: str, number: int, cpu_us: float, failed: int = 0, done: int = 1000) -> dict[str, object]:
    times = {"p50": 1000.0 * (1 + number), "p99": 5000.0, "count": 10}
    wire = {"latency_us": times, "ttft_us": times, "jitter_us": times, "failed": failed, "done": done, "seconds": 2.0}
    had: dict[str, object] = {"scenario": "chat-1k", "gateway": gateway, "unit": "request", "units_per_s": 100.0}
    had |= {"wire": wire, "round": number}
    if gateway != DIRECT:
        had |= {"cpu_us": cpu_us, "rss_mb": 90.0, "rss_mb_by_process": {"router.worker": 45.0, "router.gate": 45.0}}
    return had


def test_the_table_shows_medians_and_spread_cheapest_first() -> None:
    costs_of = {"ringfence": (30, 50, 40), "nginx": (10, 12, 11)}
    rows = [row(name, number, cost) for name, each in costs_of.items() for number, cost in enumerate(each)]
    shown = table([*rows, row(DIRECT, 0, 0), {"version": "nginx", "is": "1"}])
    assert "40 (30–50)" in shown
    assert shown.index("nginx") < shown.index("ringfence")
    assert spread([0.0]) == ""


def test_the_summary_leaves_out_windows_too_short_for_a_slow_gateway() -> None:
    """64 connections: 100 answers in the window are those of requests begun before it, and their cost is anybody's."""
    rows = [row("ringfence", number, 50.0) for number in range(3)]
    rows += [row("envoy", number, 100.0) for number in range(3)]
    rows += [row("litellm", 0, 9000.0, done=100), row("portkey", 0, 800.0, failed=1)]
    assert costs_by_round(rows).keys() == {("chat-1k", "ringfence"), ("chat-1k", "envoy")}
    told = goals(rows)
    assert "| chat-1k | envoy | ≤ 1 × | 0.5 × (0.5–0.5) | reached |" in told
    assert "| chat-1k | litellm | ≤ 1/150 | not measured | |" in told


def test_the_summary_tells_what_the_floor_leaves() -> None:
    rows = [row(name, 0, cost) for name, cost in (("ringfence", 160.0), ("envoy", 80.0))]
    assert floors(rows) == ""
    told = floors([*rows, row("two-process-floor", 0, 40.0)])
    assert "| chat-1k | 40 | 0.5 × (0.5–0.5) | 4 × (4–4) |" in told
    assert "*two-process-floor* (limit)" in table([*rows, row("two-process-floor", 0, 40.0)])


def judged(ratios: tuple[float, ...], budget: float = 3.0, rss: float = 60, failed: int = 0) -> list[str]:
    """What is said of so many times nginx's CPU, round by round."""
    rows = [row("nginx", number, 10.0) for number in range(len(ratios))]
    rows += [row("ringfence", number, 10.0 * ratio, failed) for number, ratio in enumerate(ratios)]
    assert ratios_to_nginx(rows, "chat-1k") == pytest.approx(ratios)
    return list(broken(rows, budgets({"chat-1k": budget}, {"router.worker": rss})))


def budgets(cpu_to_nginx: dict[str, float], rss_mb: dict[str, float]) -> dict[str, dict[str, float]]:
    return {"cpu_to_nginx": cpu_to_nginx, "rss_mb": rss_mb, "start": {"cpu_s": 1.0}}


def test_a_budget_is_broken_when_every_round_breaks_it() -> None:
    assert judged((2.0, 2.5, 2.9)) == []
    assert judged((2.9, 9.0, 9.0)) == [], "one round within the budget: the others may be the machine's noise"
    assert judged((3.1, 4.0)) == ["chat-1k: 3.1 to 4.0 times nginx's CPU, the budget is 3"]
    assert judged((1.0,), rss=40) == ["router.worker: holds 45 to 45 MB, the budget is 40"]
    assert judged((1.0,), failed=2) == ["2 requests to ringfence failed"]


def test_a_budget_that_nothing_was_measured_for_is_no_pass() -> None:
    assert list(broken([], budgets({"chat-1k": 3.0}, {}))) == ["chat-1k: nothing was measured"]


def test_a_start_has_a_budget() -> None:
    took = [("nginx", 9.0), ("ringfence", 1.2), ("ringfence", 1.1)]
    starts = [{"started": name, "cpu_s": cpu_s} for name, cpu_s in took]
    assert list(broken(starts, budgets({}, {}))) == ["a start takes 1.10 to 1.20 s of CPU, the budget is 1"]
    assert list(broken([*starts, {"started": "ringfence", "cpu_s": 0.6}], budgets({}, {}))) == []


def test_costs_are_of_the_window_alone() -> None:
    first, last = Usage({"gate": 1.0}, {"gate": 0}), Usage({"gate": 1.5, "worker": 0.5}, {"gate": 1 << 20})
    assert costs(first, last, 1000)["cpu_us"] == 1000.0
    assert costs(first, last, 1000)["cpu_us_by_process"] == {"gate": 500.0, "worker": 500.0}
    assert costs(first, last, 0) == {}


def test_calls_in_the_gate_are_counted() -> None:
    command = [sys.executable, "-m", "bench.exchange", "--calls", "--exchanges", "640", "--top", "1"]
    told = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60
    )
    assert 10 < float(told.stdout.split("Python ")[1].split(",")[0]) < CALLS


def test_an_exchange_that_cannot_be_measured_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    """It said nothing, waited for its worker for ever, and whoever ended it left the mock behind."""
    command = [sys.executable, "-m", "bench.exchange", "--exchanges", "100000000"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True, env=environment(TMPDIR=str(tmp_path))
    ) as bench:
        until(lambda: any(_is_mock(pid) for pid in children(bench.pid)), 60, "the mock runs")
        [worker] = [pid for pid in children(bench.pid) if "bench.exchange" in command_line(pid)]
        os.kill(worker, signal.SIGKILL)
        said = bench.communicate(timeout=60)[1]
    assert (bench.returncode, said) == (1, "the worker ended before its exchanges did: see above\n")
    assert not list(tmp_path.iterdir())
    assert not [place for place in Path("/proc").glob("[0-9]*/cwd") if str(tmp_path) in _leads_to(place)]


def _is_mock(pid: int) -> bool:
    return command_line(pid)[0].endswith("/mock")


def _leads_to(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_why_an_exchange_failed_is_said() -> None:
    assert [is_over(kind, b"") for kind in (Frame.ANSWER, Frame.END, Frame.DATA)] == [True, True, False]
    with pytest.raises(SystemExit, match="an exchange failed: refused: nobody listens"):
        is_over(Frame.FAIL, encode(Failure(Cause.REFUSED, "nobody listens")))


@pytest.mark.parametrize(("unit", "options"), [("request", ["--upstreams", "64"]), ("event", ["--stream"])])
def test_calls_in_the_worker_are_counted(unit: str, options: list[str]) -> None:
    command = [sys.executable, "-m", "bench.worker", "--requests", "64", "--connections", "8", *options]
    told = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60
    )
    assert 5 < json.loads(told.stdout)["calls"] < WORKERS_CALLS[unit]
