"""The gate's dialler before a real name server that is slow, empty, lying or endless: clear, bounded, never dialled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from router.prove.stage import entering
from tests.prove.test_prove import NEEDS, ROOT
from tests.service import environment

ENDS = {
    "empty": ("dns", "host_unresolved"),
    "missing": ("dns", "host_unresolved"),
    "failing": ("dns", "host_unresolved"),
    "silent": ("dns", "no answer from the resolver within 0.5 s"),
    "lying": ("policy_denied", "forbidden_address"),
    "metadata": ("policy_denied", "metadata_address"),
    "flood": ("dns", "4000 addresses for one name"),
    "alias": ("policy_denied", "an alias of acme.openai.azure.com"),
    "good": ("connected", ""),
}


@NEEDS
def test_a_name_server_cannot_make_us_dial_wait_or_swell(tmp_path: Path) -> None:
    command = [*entering(), sys.executable, "-m", "tests.prove.names", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    found = {name: (ends[name][0], words in ends[name][1]) for name, (_, words) in ENDS.items()}
    assert found == {name: (cause, True) for name, (cause, _) in ENDS.items()}, ends
    assert ends["nonsense"][0] == "dns"
    assert max(seconds for _, _, seconds in ends.values()) < 5
