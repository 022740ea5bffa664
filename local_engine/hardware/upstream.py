"""A proposal for GPUs, written as the upstream of a server that the machine's owner runs: a command, and its entry."""

from __future__ import annotations

import shutil

from local_engine.hardware.decide import Proposal

PORT = 8000
MODELS = "/srv/models"
"""Where such a server finds its model: one that we start has no network to fetch it."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}


def command_of(proposal: Proposal) -> list[str]:
    """What to run beside Ringfence, listening on loopback alone; empty for the embedded engine."""
    return _command(proposal, ["--host", "127.0.0.1", "--port", str(PORT)])


def entry_of(proposal: Proposal, *, managed: bool) -> str:
    """Lines for the policy file; `managed`: upstreams may have a `command`, which the service starts on demand in an
    empty network, serving on a UNIX socket.
    """
    if proposal.backend == "embedded":
        return f"engines:\n  small: {{model: auto, context: {proposal.context}, parallel: {proposal.parallel}}}\n"
    if not managed:
        return f'upstreams:\n  gpu: {{url: "http://127.0.0.1:{PORT}/v1", backend: {proposal.backend}}}\n'
    program, *arguments = _command(proposal, ["--uds" if proposal.backend == "vllm" else "--host", "{socket}"])
    words = [shutil.which(program) or f"/usr/local/bin/{program}", *arguments]
    written = ", ".join(f'"{word}"' for word in words)
    variables = ", ".join(f'{name}: "{value}"' for name, value in OFFLINE.items())
    return (
        f"upstreams:\n  gpu:\n    backend: {proposal.backend}\n    exclusive: gpu0\n"
        f"    environment: {{{variables}}}\n    command: [{written}]\n"
    )


def _command(proposal: Proposal, place: list[str]) -> list[str]:
    model = f"{MODELS}/{proposal.example.rpartition('/')[2]}"
    if proposal.backend == "vllm":
        return ["vllm", "serve", model, *place, *_vllm(proposal)]
    if proposal.backend == "llama_cpp":
        return ["llama-server", "-m", model, *place, *_llama_server(proposal)]
    return []


def _vllm(proposal: Proposal) -> list[str]:
    """Engine arguments of vLLM (docs.vllm.ai, "vllm serve")."""
    parts = ["--max-model-len", str(proposal.context), "--max-num-seqs", str(proposal.parallel)]
    parts += ["--gpu-memory-utilization", "0.90", "--enable-prefix-caching"]
    if proposal.gpus > 1:
        parts += ["--tensor-parallel-size", str(proposal.gpus)]
    return parts


def _llama_server(proposal: Proposal) -> list[str]:
    """`-c` is shared by all slots with `--kv-unified`: one long request may have it all. A 7B model has 28 layers."""
    layers = "999" if proposal.gpu_layers == -1 else str(28 * proposal.gpu_layers // 100)
    parts = ["-c", str(proposal.context), "-np", str(proposal.parallel), "--kv-unified", "-ngl", layers]
    return [*parts, "-t", str(proposal.threads)]
