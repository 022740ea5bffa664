"""Write docs/reference/policy-file.md and .env.example from the settings themselves, so that they cannot disagree.

Run: .venv/bin/python tools/reference.py. A test compares what is committed with what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from msgspec import NODEFAULT

from local_engine.hardware import decide
from router.settings.environment import FIRST_TIER, TIER_PARTS, VARIABLES
from router.settings.keymodel import KeyEntry
from router.settings.model import SettingsFile
from router.settings.reading import Key, bare_type, keys_of
from router.settings.strict import Strict
from tools import tiers_page

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "policy-file.md"
SAMPLE: Final = ROOT / ".env.example"
TIERS: Final = ROOT / "docs" / "reference" / "tiers.md"
HARDWARE: Final = ROOT / "docs" / "reference" / "hardware.md"
SAMPLES: Final = {
    "CUSTOM_LLM_BASE_URL": "http://10.1.2.3:8000/v1",
    "CUSTOM_LLM_MODEL": "deepseek-coder-6.7b",
    "TIER2_BASE_URL": "https://alice-llm.hf.space:443/v1",
    "TIER2_MODEL": "deepseek-coder-1.3b-instruct",
    "TIER2_NAME": "space",
    "TIER2_TIMEOUT": "300000",
    "TIER2_ENABLED": "true",
    "TIER2_THIRD_PARTY_HOST": "true",
    "RINGFENCE_CONFIG": "tiers.yaml",
    "RINGFENCE_HOST": "127.0.0.1",
    "RINGFENCE_PORT": "7860",
    "RINGFENCE_WORKERS": "auto",
    "RINGFENCE_TLS_CERTIFICATE": "tls/fullchain.pem",
    "RINGFENCE_TLS_KEY": "tls/privkey.pem",
    "RINGFENCE_KEYS_FILE": "keys.yaml",
    "RINGFENCE_AUDIT_DIRECTORY": "./ledger",
    "RINGFENCE_AUDIT_DURABILITY": "strict",
    "RINGFENCE_REQUIRE_SEAL": "none",
    "RINGFENCE_BODY_BYTES": "10485760",
    "RINGFENCE_ANSWER_BYTES": "33554432",
    "RINGFENCE_JSON_DEPTH": "64",
    "RINGFENCE_DRAIN": "20s",
    "RINGFENCE_ENGINE_CONTEXT": "8192",
    "RINGFENCE_ENGINE_PARALLEL": "4",
    "RINGFENCE_ENGINE_THREADS": "0",
    "RINGFENCE_EMBEDDED_LAST": "true",
}
INTRODUCTION: Final = """# The tier policy file

One YAML file, read strictly: an unknown key, a key written twice, an anchor, an alias or a tag is an error with its
line. `ringfence check FILE` tells every mistake at once, `ringfence check --print` what is in force and where it came
from. Ready-made files are in `policies/examples/`. This page is written by `tools/reference.py`.

**The `upstreams` table is the allow-list: no prompt goes anywhere else.** `model_sources` and `witnesses` are dialled
at an operator's order alone, and nothing else ever. A destination is refused, whatever the file says, when it is a
catalogued cloud provider, a metadata address or not in canonical form ([destinations](destinations.md)). Times are
written with a unit (`500ms`, `2s`, `3m`, `12h`, `1d`). Plain `no`, `012` and `1:30` are text, as are all quoted values.

From weak to strong: defaults, environment, file, flags. Upstreams and tiers come whole from one place: a file that
names any replaces those of the environment. With neither, the embedded engine is the only tier.

**Reach** is how far a prompt may travel: `process` (embedded engine) < `host` (loopback) < `network` (private
addresses) < `rented` (somebody else's computer). A name without `addresses` may only resolve to private addresses, and
with `third_party_host: true` only to public ones; with `addresses`, all of its addresses must lie in them.
"""


HARDWARE_INTRODUCTION: Final = """# Which model on which machine

`ringfence doctor` reads what there is (vector extensions, cores with affinity and control-group quota, memory with the
control group's limit, NUMA nodes, GPUs by nvidia-smi, the kernel's files for AMD, sysctl on a Mac), tries in a
throw-away process which build of the engine survives a decode of 96 tokens (only that tells whether AMX works), and
proposes a row of this table with its reasons. `engines.*.model: auto` goes by it. `FORCE_BACKEND=embedded`, `llama_cpp`
or `vllm` overrides the backend. This page is written by `tools/reference.py` from `local_engine/hardware/decide.py`.

`embedded` is this project's engine: it runs on the CPU, in its cage. `llama_cpp` and `vllm` are servers of yours beside
it: for these `doctor` writes the command to run and the entry of the policy file.
"""
HARDWARE_END: Final = """
With less memory the model gets smaller until its weights take at most 60 %; the context is 16,384 tokens from 16 GiB
on, 4,096 under 4 GiB. A card on which vLLM has no kernels for these formats (compute capability under 7.5, AMD without
FP8, Apple) gets `llama_cpp` with all layers that fit.

Which build is fastest depends on the model: `ringfence doctor --bench --model FILE --config policy.yaml` measures each
with 512 tokens of prompt and 64 of answer, and the engines of that service begin with the fastest from then on. A
measurement during which others wanted the cores is shown and not kept.
"""


def main() -> int:
    """Write the files."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    SAMPLE.write_text(sample(), encoding="utf-8")
    HARDWARE.write_text(hardware(), encoding="utf-8")
    TIERS.write_text(tiers_page.page(row), encoding="utf-8")
    print(", ".join(str(path.relative_to(ROOT)) for path in (PAGE, SAMPLE, HARDWARE, TIERS)))
    return 0


def page() -> str:
    """The reference page."""
    tables = "\n".join(_tables("Top of the file", SettingsFile))
    keys = "\n".join(_table("The keys file", KeyEntry))
    environment = "\n".join(_environment())
    return f"{INTRODUCTION}\n{tables}\n{keys}\n{environment}"


def sample() -> str:
    """The sample of an environment file: every variable, commented out, with its reason."""
    lines = [
        "# Every variable that the service reads, with a sample value and why one would set it. An empty value counts",
        "# as unset; an unknown RINGFENCE_*, CUSTOM_LLM_* or TIERn_* is refused. Load it by: set -a; . ./.env; set +a",
        "# With none of them, the embedded engine alone serves on 127.0.0.1:7860. Written by tools/reference.py.",
    ]
    first = [(variable.name, variable.why) for variable in FIRST_TIER]
    second = [(f"TIER2_{part}", f"Tier n (here 2, up to 99): {why}.") for part, why in TIER_PARTS]
    router = [(variable.name, variable.why) for variable in VARIABLES]
    for name, why in (*first, *second, *router):
        lines += ["", f"# {why}", f"#{name}={SAMPLES.get(name, '')}"]
    return "\n".join(lines) + "\n"


def hardware() -> str:
    """The table that `ringfence doctor` decides by."""
    lines = [
        HARDWARE_INTRODUCTION,
        "| Machine | Backend | Model | Quantisation | Context | At once | Why |",
        "|---|---|---|---|---|---|---|",
    ]
    for tier in (decide.CPU, *decide.TIERS):
        cells = (tier.name, tier.backend, tier.model, tier.quantisation, tier.context, tier.parallel, tier.why)
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    steps = "; ".join(f"{size:g} from {cores} cores on" for size, cores in decide.STEPS)
    return "\n".join([*lines, "", decide.SEVERAL, "", f"Billions of parameters on a CPU: {steps}.", HARDWARE_END])


def _tables(title: str, shape: type[Strict], path: str = "") -> Iterator[str]:
    yield from _table(title, shape)
    for name, key in keys_of(shape).items():
        inner, suffix = _inner(key.annotation)
        if inner is not None:
            own = f"{path}{name}{suffix}"
            yield ""
            yield from _tables(f"`{own}`", inner, f"{own}.")


def _table(title: str, shape: type[Strict]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield "| Key | Type | Default | What it is for |"
    yield "|---|---|---|---|"
    for key in keys_of(shape).values():
        yield row(key)


def row(key: Key) -> str:
    """One key's row."""
    return f"| `{key.name}` | {_type(key)} | {_default(key)} | {key.meta.description} |"


def _inner(annotation: Any) -> tuple[type[Strict] | None, str]:
    """The shape inside an annotation, and how its items are written."""
    annotation, _ = bare_type(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation, ""
    suffix = {dict: ".NAME", tuple: "[]"}.get(get_origin(annotation), "")
    found = [inner for inner, _ in map(_inner, get_args(annotation)) if inner is not None]
    return (found[0], suffix) if found else (None, "")


def _type(key: Key) -> str:
    if key.is_time:
        return "time"
    inner, suffix = _inner(key.annotation)
    if inner is not None:
        return {"": "keys", ".NAME": "names with keys", "[]": "list"}[suffix]
    return _plain(key.annotation)


def _plain(annotation: Any) -> str:
    words = {str: "text", int: "whole number", bool: "true or false", float: "number"}
    annotation, _ = bare_type(annotation)
    if annotation in words:
        return words[annotation]
    parts = [item for item in get_args(annotation) if item not in (type(None), Ellipsis)]
    if get_origin(annotation) is tuple:
        return f"list of {_plain(parts[0])}"
    if get_origin(annotation) is dict:
        return "names with lists" if get_origin(parts[1]) is tuple else "names with text"
    if all(isinstance(part, (str, int)) for part in parts):
        return ", ".join(f"`{part}`" for part in parts)
    return _plain(parts[0])


def _default(key: Key) -> str:
    value = (key.meta.extra_json_schema or {}).get("written", key.default)
    if value is NODEFAULT:
        return "required"
    if value in (None, "", ()) or value == {} or isinstance(value, Strict):
        return "-"
    if "time" in _type(key):
        return f"`{value:g}s`" if value else "-"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _environment() -> Iterator[str]:
    yield "## The environment"
    yield ""
    yield "| Variable | What it is for |"
    yield "|---|---|"
    for variable in (*FIRST_TIER, *VARIABLES):
        place = f" (`{'.'.join(map(str, variable.path))}`)" if variable.path else ""
        yield f"| `{variable.name}`{place} | {variable.why} |"
    for part, why in TIER_PARTS:
        yield f"| `TIERn_{part}` | Tier n: {why}. |"
    yield ""
    yield "`CUSTOM_LLM_*` is tier 1. A client asks for tier 1's model, and it falls over all tiers in order, each asked"
    yield "for the model that it serves; the model of another tier may be asked for by its own name."
    yield ""


if __name__ == "__main__":
    sys.exit(main())
