"""How fast each build of llama.cpp reads and writes with one model: measured in throw-away processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MEASURE_S = 900
UNDISTURBED = 0.85


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second, the best of several rounds. `share`: of its cores it got; `trouble`: why it did not run."""

    prompt: float = 0.0
    answer: float = 0.0
    share: float = 0.0
    trouble: str = ""

    @property
    def sound(self) -> bool:
        """Measured while nobody else wanted the cores: only then does it tell one build from another."""
        return not self.trouble and self.share >= UNDISTURBED

    @property
    def score(self) -> float:
        """Answers take most of the time of a chat: one token of an answer counts as ten of a prompt."""
        return 0.0 if self.trouble else 11 / (1 / self.answer + 10 / self.prompt)


def measure(folder: Path, model: Path, threads: int, rounds: int = 3) -> Speed:
    """In a child of this process."""
    numbers = (str(threads), str(rounds), str(os.getpid()))
    command = [sys.executable, "-I", "-m", "local_engine.measuring", str(folder), str(model), *numbers]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=MEASURE_S, check=False, stdin=subprocess.DEVNULL, text=True
        )
    except subprocess.TimeoutExpired:
        return Speed(trouble=f"took more than {MEASURE_S} s")
    if done.returncode:
        how = (
            f"ended by signal {-done.returncode}" if done.returncode < 0 else f"failed with exit code {done.returncode}"
        )
        return Speed(trouble=how)
    return Speed(**json.loads(done.stdout))
