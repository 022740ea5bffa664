"""Parameters by which a request could choose another destination, credential or file, known by their names.

Read from the documentation of gateways and servers: what LiteLLM bans from request bodies, vLLM's remote key-value
transfer, llama.cpp's RPC and model options, and the hosted tools of OpenAI's, Anthropic's and OpenRouter's interfaces.
"""

from __future__ import annotations

import re
from typing import Final

REAIMING: Final = frozenset(
    {
        "adapters",
        "allowed_openai_params",
        "api_base",
        "api_key",
        "api_key_file",
        "api_version",
        "base_url",
        "callback",
        "callbacks",
        "client_secret",
        "configurable_clientside_auth_params",
        "context_window_fallbacks",
        "control_vectors",
        "credentials",
        "custom_llm_provider",
        "custom_logit_processor",
        "default_headers",
        "deployment_id",
        "draft_model",
        "endpoint",
        "extra_body",
        "extra_headers",
        "extra_query",
        "failure_callback",
        "fallbacks",
        "headers",
        "host",
        "http_client",
        "https_proxy",
        "http_proxy",
        "kv_transfer_params",
        "litellm_params",
        "logits_processors",
        "lora",
        "lora_adapters",
        "lora_request",
        "mock_response",
        "mmproj",
        "model_info",
        "model_list",
        "model_path",
        "models",
        "organization",
        "proxies",
        "proxy",
        "providers",
        "provider",
        "region_name",
        "route",
        "rpc",
        "rpc_servers",
        "rust",
        "slot_save_path",
        "success_callback",
        "tenant_id",
        "tokenizer",
        "trust_remote_code",
        "user_config",
        "webhook",
    }
)
_REAIMING_FORM: Final = re.compile(
    r"(?:aws|azure|bedrock|gcp|hf|litellm|oci|s3|vertex|watsonx)_.+"
    r"|.+_(?:host|hosts|url|urls|uri|uris|endpoint|endpoint_url|base|proxy|path|file|api_key|credentials|secret|headers)"
)
HOSTED: Final = frozenset(
    {
        "code_execution",
        "code_interpreter",
        "computer_use",
        "connector_id",
        "container",
        "file_search",
        "google_search",
        "mcp",
        "mcp_servers",
        "plugins",
        "server_label",
        "server_url",
        "tool_resources",
        "tool_server",
        "vector_store_ids",
        "web_search",
        "web_search_options",
    }
)
# Spelled as one word, `baseURL` and `apiBase` are these too.
_RUN_TOGETHER: Final = frozenset(name.replace("_", "") for name in REAIMING if "_" in name)
# Their values are judged instead: a `data:` URL carries its content with it.
LOCATORS: Final = frozenset({"audio_url", "file_url", "image_url", "uri", "url", "video_url"})
INLINE: Final = frozenset({"audio", "file_data", "image", "images", "input_audio", "video"})
REFERENCES: Final = frozenset({"file_id", "image_file"})


def is_reaiming(name: str) -> bool:
    """Could a parameter of this name choose where a request goes, with which credential, or what file is read?"""
    plain = name.strip().casefold().replace("-", "_")
    if plain in REAIMING or plain.replace("_", "") in _RUN_TOGETHER:
        return True
    return _REAIMING_FORM.fullmatch(plain) is not None


def is_hosted(name: str) -> bool:
    """Does a parameter of this name make the server call out?"""
    return name.strip().casefold().replace("-", "_") in HOSTED


def is_cloud_model(name: str) -> bool:
    """Would Ollama send this model's requests to its cloud? (Its own rule: `NAME:cloud` and `NAME:SIZE-cloud`.)"""
    plain = name.strip().lower()
    return plain.endswith(("-cloud", ":cloud")) or plain == "cloud"
