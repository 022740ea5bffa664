"""What `ringfence doctor` says of the machine as a place for models, and what it proposes to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from local_engine.hardware.decide import Proposal, propose
from local_engine.hardware.detect import detect
from local_engine.hardware.facts import AMX, GIB, Hardware
from local_engine.hardware.upstream import command_of, entry_of
from local_engine.library import NoLibrary, candidates, choose, prefer, run_probe
from local_engine.measure import Speed, measure
from router.settings.upstream_entry import UpstreamSettings

MANAGED = "command" in UpstreamSettings.__struct_fields__


class Machine:
    """Looked at once; UnknownBackend when FORCE_BACKEND names none that there is."""

    def __init__(self, environment: Mapping[str, str], model: Path | None, state_directory: Path | None) -> None:
        self.hardware = detect()
        self.proposal = propose(self.hardware, environment.get("FORCE_BACKEND", ""))
        self._model = model
        self._state = state_directory
        self.library, self.library_trouble = self._library()
        self.speeds: dict[str, Speed] = {}

    def _library(self) -> tuple[str, str]:
        """The build that survives a decode of 96 tokens here, and why a faster one does not."""
        if self._model is None:
            return "", "the model is not here: nothing was tried"
        try:
            found = choose(candidates(), self._model, self._state, run_probe)
        except NoLibrary as error:
            return "", str(error)
        return found.name, found.reason

    def bench(self) -> None:
        """Measure each build with the model; the fastest is what engines on this machine begin with from now on."""
        if self._model is None:
            return
        threads = self.hardware.cpu.cores
        self.speeds = {one.name: measure(one.folder, self._model, threads) for one in candidates()}
        best = max(self.speeds, key=lambda name: self.speeds[name].score, default="")
        if best and self._state is not None and all(speed.sound or speed.trouble for speed in self.speeds.values()):
            prefer(best, self._model, self._state)

    def document(self) -> dict[str, Any]:
        """For programs."""
        hardware = asdict(self.hardware)
        hardware["cpu"]["flags"] = self.hardware.cpu.told
        return {
            **hardware,
            "library": self.library,
            "library_trouble": self.library_trouble,
            "amx": amx_verdict(self.hardware, self.library, self.library_trouble),
            "proposal": {**asdict(self.proposal), "command": command_of(self.proposal)},
            "speeds": {name: asdict(speed) for name, speed in self.speeds.items()},
        }

    def lines(self) -> list[str]:
        """For people."""
        return [*_facts(self.hardware), *self._engine(), *_proposed(self.proposal)]

    def _engine(self) -> list[str]:
        trouble = f" ({self.library_trouble})" if self.library_trouble else ""
        amx = amx_verdict(self.hardware, self.library, self.library_trouble)
        lines = [f"llama.cpp: {self.library or 'no'} library{trouble}", f"AMX: {amx}"]
        for name, speed in self.speeds.items():
            busy = "" if speed.sound else f" (others took {1 - speed.share:.0%} of the cores: not kept, measure again)"
            told = speed.trouble or f"prompts {speed.prompt:.0f}, answers {speed.answer:.0f} tokens/s{busy}"
            lines.append(f"  {name}: {told}")
        return lines


def amx_verdict(hardware: Hardware, library: str, trouble: str) -> str:
    """Only running it tells: compilers have miscompiled it, and no flag of the CPU shows that."""
    if not hardware.cpu.flags >= AMX:
        return "this CPU has none"
    if library == "native":
        return "works: a decode of 96 tokens survived"
    return f"this CPU has it, but it does not work here: {trouble or 'the native library was not chosen'}"


def _facts(hardware: Hardware) -> list[str]:
    cpu = hardware.cpu
    quota = "" if cpu.quota is None else f", quota {cpu.quota:g}"
    lines = [
        f"CPU: {cpu.name}, {cpu.cores} cores to use{quota}; {' '.join(cpu.told) or 'no vector extension known here'}",
        f"memory: {hardware.memory / GIB:.1f} GiB, {hardware.free / GIB:.1f} free; NUMA nodes: {hardware.nodes}",
    ]
    gpus = [
        f"GPU: {gpu.name}, {gpu.memory / GIB:.1f} GiB, {gpu.capability or 'capability unknown'}"
        for gpu in hardware.gpus
    ]
    notes = [f"note: {note}" for note in hardware.notes]
    return [*lines, *(gpus or ["GPU: none"]), *notes]


def _proposed(proposal: Proposal) -> list[str]:
    layers = {0: "none", -1: "all"}.get(proposal.gpu_layers, f"{proposal.gpu_layers} %")
    shape = f"context {proposal.context}, {proposal.parallel} at once, {proposal.threads} threads"
    what = f"{proposal.backend}, {proposal.model} in {proposal.quantisation}"
    lines = [f"proposal for {proposal.tier}: {what}, {shape}, layers on the GPU: {layers}"]
    lines += [f"  {reason}" for reason in proposal.reasons]
    if command := command_of(proposal):
        lines.append(f"  run: {' '.join(command)}")
    entry = entry_of(proposal, managed=MANAGED).splitlines()
    return [*lines, "  for the policy file:", *(f"    {line}" for line in entry)]
