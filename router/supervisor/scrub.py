"""What of the environment a child is given: a closed list. No proxy setting, credential, library path or Python
option of the operator's shell reaches a process that handles prompts (`python -I` alone would still pass most on).
"""

from __future__ import annotations

from collections.abc import Mapping

KEPT = frozenset(
    {
        "LANG",
        "LC_ALL",
        "TZ",
        "COVERAGE_PROCESS_CONFIG",  # coverage.py measuring our own tests; read by its .pth file only where installed
        "COVERAGE_PROCESS_START",
    }
)
FIXED = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child."""
    return {**FIXED, **{name: value for name, value in environment.items() if name in KEPT}}
