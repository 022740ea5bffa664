"""A proposal for GPUs, written as the upstream of a server that the machine's owner runs: a command, and its entry."""

from __future__ import annotations

from local_engine.hardware.decide import Proposal

PORT = 8000


def command_of(proposal: Proposal) -> list[str]:
    """What to run beside Ringfence, listening on loopback alone; empty for the embedded engine."""
    if proposal.backend == "vllm":
        return _vllm(proposal)
    if proposal.backend == "llama_cpp":
        return _llama_server(proposal)
    return []


def entry_of(proposal: Proposal, *, managed: bool) -> str:
    """Lines for the policy file; `managed`: upstreams may have a `command` that the service starts."""
    command = command_of(proposal)
    if not command:
        engine = f"{{model: auto, context: {proposal.context}, parallel: {proposal.parallel}}}"
        return f"engines:\n  small: {engine}\n"
    written = ", ".join(f'"{word}"' for word in command)
    entry = f'upstreams:\n  gpu:\n    url: "http://127.0.0.1:{PORT}/v1"\n    backend: {proposal.backend}\n'
    return entry + (f"    command: [{written}]\n" if managed else "")


def _vllm(proposal: Proposal) -> list[str]:
    """Engine arguments of vLLM (docs.vllm.ai, "vllm serve")."""
    parts = ["vllm", "serve", proposal.example, "--host", "127.0.0.1", "--port", str(PORT)]
    parts += ["--max-model-len", str(proposal.context), "--max-num-seqs", str(proposal.parallel)]
    parts += ["--gpu-memory-utilization", "0.90", "--enable-prefix-caching"]
    if proposal.gpus > 1:
        parts += ["--tensor-parallel-size", str(proposal.gpus)]
    return parts


def _llama_server(proposal: Proposal) -> list[str]:
    """`-c` is shared by all slots with `--kv-unified`: one long request may have all of it."""
    layers = "999" if proposal.gpu_layers == -1 else str(28 * proposal.gpu_layers // 100)
    parts = ["llama-server", "-m", proposal.example, "--host", "127.0.0.1", "--port", str(PORT)]
    parts += ["-c", str(proposal.context), "-np", str(proposal.parallel), "--kv-unified", "-ngl", layers]
    return [*parts, "-t", str(proposal.threads)]
