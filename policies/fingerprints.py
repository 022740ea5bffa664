"""What gives a cloud or a gateway away that stands where a model server should: data, with where it is known from.

None of it is the fence, which is the list of destinations. It tells an operator that a listed address is not what they
think it is: a private link to a cloud's API, a proxy that a colleague put in between, a signed-in Ollama.
"""

from __future__ import annotations

from typing import Final

# Beginnings of header names -> whose they are. Vendors' API references, and their answers.
CLOUD_HEADERS: Final = {
    "openai-": "openai",  # -organization, -processing-ms, -version, -project
    "anthropic-": "anthropic",  # -organization-id, -ratelimit-*
    "x-groq-": "groq",
    "x-amzn-bedrock-": "aws bedrock",
    "azureml-model-": "azure",
    "x-ms-deployment-name": "azure",
    "mistral-correlation-id": "mistral",
    "fireworks-": "fireworks",
    "x-ds-trace-id": "deepseek",
    "x-gemini-": "google",
    "nvcf-": "nvidia",
    "x-together-": "together",
    "x-deepinfra-": "deepinfra",
    "x-inference-provider": "huggingface",
    "x-cerebras-": "cerebras",
    "cohere-": "cohere",
}
GATEWAY_HEADERS: Final = {
    "x-litellm-": "litellm",
    "x-portkey-": "portkey",
    "x-openrouter-": "openrouter",
    "helicone-": "helicone",
    "cf-aig-": "cloudflare ai gateway",
    "x-kong-llm-": "kong",
    "x-truefoundry-": "truefoundry",
}
FRONT_HEADERS: Final = {  # a front that an operator may well have put before a server of their own: told, not refused
    "cf-ray": "cloudflare",
    "x-amz-cf-id": "cloudfront",
    "x-amzn-requestid": "aws",
    "x-vercel-id": "vercel",
    "apim-request-id": "azure api management",
}
# `owned_by` of a row of /v1/models, exactly.
CLOUD_OWNERS: Final = {
    "openai": "openai",
    "openai-internal": "openai",
    "openai-dev": "openai",
    "system": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "mistralai": "mistral",
    "deepseek": "deepseek",
    "moonshot": "moonshot",
    "xai": "xai",
    "cohere": "cohere",
    "azure-openai": "azure",
    "amazon": "aws bedrock",
}
SOFTWARE_OWNERS: Final = {"vllm": "vllm", "llamacpp": "llama_cpp", "library": "ollama", "llama-swap": "llama-swap"}
GATEWAY_ROW_KEYS: Final = {"top_provider": "openrouter", "per_request_limits": "openrouter"}
# Versions below have holes that are known to leak prompts or run a stranger's code: floor, and why.
VERSION_FLOORS: Final = {
    "ollama": ((0, 17, 1), "CVE-2026-7482"),
    "vllm": ((0, 14, 1), "CVE-2026-22778 and CVE-2026-24779"),
}
