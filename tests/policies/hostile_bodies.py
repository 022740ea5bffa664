"""Bodies that a client may not send, each with the reason and the place that must be named."""

from __future__ import annotations

import json
from typing import Any

from policies import Reason

SAY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def part(**content: Any) -> dict[str, Any]:
    return {**SAY, "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, content]}]}


def tool(**entry: Any) -> dict[str, Any]:
    return {**SAY, "tools": [entry]}


def function(parameters: Any) -> dict[str, Any]:
    return tool(type="function", function={"name": "f", "parameters": parameters})


PNG = "data:image/png;base64,iVBORw0KGgo="
RANK = {"model": "m", "query": "q", "documents": ["d"]}
REFUSED = [
    (
        "rerank-image",
        {**RANK, "documents": ["d", {"image": "http://evil"}]},
        Reason.REMOTE_CONTENT,
        "documents[1].image",
    ),
    ("rerank-query", {**RANK, "query": {"image_url": "http://evil"}}, Reason.REMOTE_CONTENT, "query.image_url"),
    ("rerank-base", {**RANK, "api_base": "http://evil"}, Reason.REAIMING_PARAMETER, "api_base"),
    *[
        (f"66-{name}", {**SAY, name: "x"}, Reason.REAIMING_PARAMETER, name)
        for name in (
            "api_base",
            "base_url",
            "api_key",
            "model_list",
            "custom_llm_provider",
            "extra_headers",
            "user_config",
            "langfuse_host",
            "aws_sts_endpoint",
            "aws_bedrock_runtime_endpoint",
            "s3_endpoint_url",
            "deployment_url",
            "vertex_credentials",
            "rust",
            "API_BASE",
            "Api-Base",
            " api_base",
            "azure_ad_token",
            "fallbacks",
            "kv_transfer_params",
            "organization",
            "models",
            "baseURL",
            "apiBase",
            "API_KEY_",
            "extraHeaders",
            "adapters",
            "lora_adapters",
            "logits_processors",
            "custom_logit_processor",
        )
    ],
    ("67-metadata", {**SAY, "metadata": {"api_base": "x"}}, Reason.REAIMING_PARAMETER, "metadata.api_base"),
    ("67-extra-body", {**SAY, "extra_body": {}}, Reason.REAIMING_PARAMETER, "extra_body"),
    ("67-litellm-params", {**SAY, "litellm_params": {}}, Reason.REAIMING_PARAMETER, "litellm_params"),
    ("67-deep", {**SAY, "a": [{"b": [[{"base_url": 1}]]}]}, Reason.REAIMING_PARAMETER, "a[0].b[0][0].base_url"),
    ("67-text", {**SAY, "metadata": {"x": '{"api_base": "y"}'}}, Reason.REAIMING_PARAMETER, "metadata.x.api_base"),
    (
        "67-text-with-a-long-number",
        {**SAY, "user": f'{{"n": {"1" * 5_000}, "api_base": 1}}'},
        Reason.REAIMING_PARAMETER,
        "user.api_base",
    ),
    ("67-long-s", {**SAY, "default_headerſ": 1}, Reason.REAIMING_PARAMETER, "default_headerſ"),
    (
        "67-text-in-text",
        {**SAY, "user": json.dumps([json.dumps({"api_base": 1})])},
        Reason.REAIMING_PARAMETER,
        "user[0].api_base",
    ),
    (
        "67-message",
        {"messages": [{"role": "user", "content": "x", "api_base": "y"}]},
        Reason.REAIMING_PARAMETER,
        "messages[0].api_base",
    ),
    ("67-made-up-schema", {**SAY, "schema": {"api_base": 1}}, Reason.REAIMING_PARAMETER, "schema.api_base"),
    ("67-parameters", {**SAY, "parameters": {"api_base": 1}}, Reason.REAIMING_PARAMETER, "parameters.api_base"),
    ("67-properties", {**SAY, "properties": {"api_base": 1}}, Reason.REAIMING_PARAMETER, "properties.api_base"),
    ("69-among-others", {**SAY, "made_up": 1, "model": "x:cloud"}, Reason.CLOUD_MODEL, "model"),
    *[
        (f"69-{name}", {**SAY, "model": name}, Reason.CLOUD_MODEL, "model")
        for name in ("gpt-oss:120b-cloud", "qwen3:cloud", "x:CLOUD", "qwen3:cloud ", " kimi-k2:1T-CLOUD\n", "x-cloud")
    ],
    (
        "71-http",
        part(type="image_url", image_url={"url": "http://evil/?d=x"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url.url",
    ),
    (
        "71-bare",
        part(type="image_url", image_url="https://evil"),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url",
    ),
    (
        "72-audio-url",
        part(type="input_audio", input_audio={"url": "https://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].input_audio.url",
    ),
    (
        "72-audio-data",
        part(type="input_audio", input_audio={"data": "https://evil", "format": "wav"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].input_audio",
    ),
    (
        "72-audio-data-number",
        part(type="input_audio", input_audio={"data": 7}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].input_audio",
    ),
    (
        "72-video",
        part(type="video_url", video_url={"url": "https://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].video_url.url",
    ),
    ("72-video-bare", part(type="video", video="https://evil"), Reason.REMOTE_CONTENT, "messages[0].content[1].video"),
    (
        "72-audio",
        part(type="audio_url", audio_url={"url": "ftp://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].audio_url.url",
    ),
    (
        "72-file-url",
        part(type="input_file", file_url="https://evil"),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].file_url",
    ),
    (
        "72-file-id",
        part(type="file", file={"file_id": "file-1"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].file.file_id",
    ),
    (
        "72-file-data",
        part(type="file", file={"file_data": "https://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].file.file_data",
    ),
    (
        "72-images",
        part(type="image", images=[PNG, "http://evil"]),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].images",
    ),
    (
        "73-file",
        part(type="image_url", image_url={"url": "file:///etc/passwd"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url.url",
    ),
    (
        "73-upper",
        part(type="image_url", image_url={"url": "HTTP://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url.url",
    ),
    (
        "73-space",
        part(type="image_url", image_url={"url": f" {PNG}"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url.url",
    ),
    (
        "73-relative",
        part(type="image_url", image_url={"url": "//evil/x"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url.url",
    ),
    (
        "73-list",
        part(type="image_url", image_url=["https://evil"]),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url",
    ),
    (
        "73-not-base64",
        part(type="image_url", image_url="data:text/html,<img src=http://evil>"),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].image_url",
    ),
    (
        "73-tool-result",
        {"messages": [{"role": "tool", "content": [{"type": "x", "image_url": {"url": "http://evil"}}]}]},
        Reason.REMOTE_CONTENT,
        "messages[0].content[0].image_url.url",
    ),
    (
        "73-source",
        part(type="image", source={"type": "url", "url": "http://evil"}),
        Reason.REMOTE_CONTENT,
        "messages[0].content[1].source.url",
    ),
    *[
        (f"74-{kind}", tool(type=kind), Reason.HOSTED_TOOL, "tools[0].type")
        for kind in ("web_search", "web_search_preview", "mcp", "code_interpreter", "file_search", "computer", None, 1)
    ],
    ("74-server", tool(server_url="https://evil"), Reason.HOSTED_TOOL, "tools[0].server_url"),
    ("74-second", {**SAY, "tools": [{"type": "function"}, {"type": "mcp"}]}, Reason.HOSTED_TOOL, "tools[1].type"),
    ("74-choice", {**SAY, "tool_choice": {"type": "mcp"}}, Reason.HOSTED_TOOL, "tool_choice.type"),
    ("74-options", {**SAY, "web_search_options": {}}, Reason.HOSTED_TOOL, "web_search_options"),
    ("74-plugins", {**SAY, "plugins": []}, Reason.HOSTED_TOOL, "plugins"),
    ("75-tool", function({"$ref": "https://evil/x.json"}), Reason.REMOTE_SCHEMA, "tools[0].function.parameters.$ref"),
    (
        "75-response-format",
        {
            **SAY,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "http://e"}}},
        },
        Reason.REMOTE_SCHEMA,
        "response_format.json_schema.schema.$ref",
    ),
    (
        "75-deep",
        function({"properties": {"a": {"items": {"$ref": "file:///x"}}}}),
        Reason.REMOTE_SCHEMA,
        "tools[0].function.parameters.properties.a.items.$ref",
    ),
    ("75-relative", function({"$ref": "other.json#/a"}), Reason.REMOTE_SCHEMA, "tools[0].function.parameters.$ref"),
    (
        "75-dynamic",
        function({"$dynamicRef": "https://evil"}),
        Reason.REMOTE_SCHEMA,
        "tools[0].function.parameters.$dynamicRef",
    ),
    ("75-not-text", function({"$ref": ["https://evil"]}), Reason.REMOTE_SCHEMA, "tools[0].function.parameters.$ref"),
    ("75-text", {**SAY, "guided_json": '{"$ref": "https://evil"}'}, Reason.REMOTE_SCHEMA, "guided_json.$ref"),
    ("75-anywhere", {**SAY, "x": {"$ref": "https://evil"}}, Reason.REMOTE_SCHEMA, "x.$ref"),
    *[
        (f"76-{name}", {**SAY, name: "x"}, Reason.REAIMING_PARAMETER, name)
        for name in ("rpc_servers", "lora", "lora_path", "hf_repo", "model_url", "model_path", "draft_model", "mmproj")
    ],
]
