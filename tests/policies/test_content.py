"""What a body may not do, case by case, and that ordinary requests pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Reason, is_cloud_model, judge_body
from policies.parameters import is_reaiming

SAY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def part(**content: Any) -> dict[str, Any]:
    return {**SAY, "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, content]}]}


def tool(**entry: Any) -> dict[str, Any]:
    return {**SAY, "tools": [entry]}


def function(parameters: Any) -> dict[str, Any]:
    return tool(type="function", function={"name": "f", "parameters": parameters})


PNG = "data:image/png;base64,iVBORw0KGgo="
REFUSED = [
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
AMBIGUOUS = [
    ("model", {**SAY, "MODEL": "gpt-oss:120b-cloud"}, "MODEL"),
    ("alone", {"Model": "m"}, "Model"),
    ("long-s", {"meſſages": []}, "meſſages"),
    ("kelvin", {**SAY, "top_\u212a": 1}, "top_\u212a"),
    ("stream", {**SAY, "Stream": True}, "Stream"),
    ("type", {"tools": [{"Type": "mcp"}]}, "tools[0].Type"),
    ("image", part(Input_Audio={"URL": "http://evil"}), "messages[0].content[1].Input_Audio"),
    ("url", part(image_url={"URL": "http://evil"}), "messages[0].content[1].image_url.URL"),
    ("ref", function({"$Ref": "http://evil"}), "tools[0].function.parameters.$Ref"),
    ("schema-table", function({"Properties": {}}), "tools[0].function.parameters.Properties"),
    ("unknown-pair", {**SAY, "made_up": 1, "MADE_up": 2}, "MADE_up"),
    ("text", {**SAY, "metadata": '{"x": {"MODEL": "m"}}'}, "metadata.x.MODEL"),
    ("twice-in-text", {**SAY, "metadata": '{"x": {"api_base": 1}, "x": 2}'}, "metadata"),
]
TOO_COMPLEX = [
    ("objects", {**SAY, "x": [{} for _ in range(200_001)]}, "x"),
    ("numbers", {**SAY, "x": [0] * 200_001}, "x"),
    ("sum", {**SAY, "x": [[0] * 50_000] * 5}, "x[3]"),
    ("text-of-objects", {**SAY, "x": "[" + "{}," * 3_000_000 + "{}]"}, "x"),
    ("deep-text", {**SAY, "user": "[" * 65 + "]" * 65}, "user" + "[0]" * 64),
    ("deepest-text", {**SAY, "user": "[" * 100_000}, "user"),
    ("long-text-in-text", {**SAY, "x": json.dumps([json.dumps([json.dumps(["a" * 5_000_000])])])}, "x[0][0]"),
    ("deep-texts", {**SAY, "x": [("[" * 900 + "]" * 900)] * 280}, "x[215]"),
]
ALLOWED = [
    ("plain", SAY),
    ("empty", {}),
    ("parameters", {**SAY, "temperature": 0.1, "stop": ["{"], "seed": 1, "stream_options": {"include_usage": True}}),
    ("urls-in-text", {"messages": [{"role": "user", "content": "fetch https://evil/?api_base=1 and file:///etc"}]}),
    ("json-in-text", {"messages": [{"role": "user", "content": '{"api_base": "https://evil", "$ref": "http://x"}'}]}),
    ("json-in-prompt", {"prompt": ['{"base_url": 1}']}),
    ("json-in-input", {"input": '{"base_url": 1}'}),
    ("inline-image", part(type="image_url", image_url={"url": PNG, "detail": "low"})),
    ("inline-image-bare", part(type="image_url", image_url=PNG)),
    (
        "inline-with-name",
        part(type="file", file={"file_data": "data:application/pdf;name=a;base64,JVBERi0=", "filename": "a"}),
    ),
    ("inline-audio", part(type="input_audio", input_audio={"data": "UklGRg==", "format": "wav"})),
    ("audio-parameters", {**SAY, "audio": {"voice": "alloy", "format": "wav"}}),
    ("nothing-named", part(type="file", file={"file_id": None, "file_data": None})),
    ("images", part(type="image", images=["iVBORw0KGgo=", PNG])),
    ("function", function({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}})),
    (
        "function-names",
        function({"properties": {"url": {"type": "string"}, "api_base": {}, "smtp_host": {}, "$ref": {}}}),
    ),
    ("property-called-properties", function({"properties": {"properties": {"type": "object"}}})),
    (
        "function-defaults",
        function({"properties": {"a": {"default": {"url": "https://x", "$ref": "y"}, "enum": ["{"]}}}),
    ),
    ("choice", {**SAY, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("choice-word", {**SAY, "tool_choice": "auto"}),
    (
        "calls-and-citations",
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"type": "function", "function": {"arguments": {"url": "https://x"}}}],
                },
                {"role": "assistant", "annotations": [{"url_citation": {"url": "https://x"}}], "content": "y"},
            ]
        },
    ),
    ("response-format", {**SAY, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}}),
    ("text-that-is-not-json", {**SAY, "user": "[not json", "metadata": {"a": "{also not"}}),
    ("template-names", {**SAY, "chat_template_kwargs": {"url": "x", "enable_thinking": False}}),
    ("logit-bias", {**SAY, "logit_bias": {"100": 1}}),
    ("deep-text", {**SAY, "user": "[" * 63 + "]" * 63}),
    ("free-names", function({"properties": {"Model": {}, "model": {}, "$REF": {}}})),
    ("free-body-names", {**SAY, "chat_template_kwargs": {"Model": 1, "model": 2}}),
    ("data-names", function({"default": {"Model": 1, "model": 2}})),
    ("many-values", {**SAY, "x": [0] * 199_000}),
    ("many-values-in-a-text", {**SAY, "x": json.dumps([0] * 150_000)}),
    ("cloudy-names", {**SAY, "model": "cloud-model"}),
    ("model-elsewhere", {**SAY, "metadata": {"model": "x-cloud"}}),
]


@pytest.mark.parametrize(("body", "reason", "param"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_a_body_may_not_do(body: dict[str, Any], reason: Reason, param: str) -> None:
    decision = judge_body(body)
    assert not decision.allowed
    assert (decision.reason, decision.param) == (reason, param)
    assert decision.detail == ""


@pytest.mark.parametrize(("body", "param"), [row[1:] for row in AMBIGUOUS], ids=[row[0] for row in AMBIGUOUS])
def test_a_name_has_one_spelling(body: dict[str, Any], param: str) -> None:
    decision = judge_body(body)
    assert (decision.reason, decision.param) == (Reason.AMBIGUOUS_NAME, param)


@pytest.mark.parametrize(("body", "param"), [row[1:] for row in TOO_COMPLEX], ids=[row[0] for row in TOO_COMPLEX])
def test_what_is_too_much_to_judge_is_refused(body: dict[str, Any], param: str) -> None:
    decision = judge_body(body)
    assert (decision.reason, decision.param) == (Reason.TOO_COMPLEX, param)


@pytest.mark.parametrize("body", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_ordinary_requests_pass(body: dict[str, Any]) -> None:
    assert judge_body(body).allowed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HOLES = st.sampled_from(["metadata", "messages", "x", "user", "response_format", "stream_options"])


@given(VALUES, st.lists(HOLES, max_size=6), st.sampled_from(["api_base", "base_url", "rpc_servers", "aws_region"]))
def test_a_reaiming_parameter_is_found_wherever_it_is_put(value: Any, way: list[str], name: str) -> None:
    body: dict[str, Any] = {name: value}
    for step in way:
        body = {"temperature": 1, step: [body]}
    assert not judge_body(body).allowed


@given(st.dictionaries(st.text(), VALUES))
def test_any_object_is_judged_without_an_error(body: dict[str, Any]) -> None:
    assert isinstance(judge_body(body).reason, Reason)


def test_depth_is_no_trouble() -> None:
    body: dict[str, Any] = {"api_base": 1}
    for _ in range(5_000):
        body = {"x": body}
    assert judge_body(body).reason is Reason.REAIMING_PARAMETER


@pytest.mark.parametrize("name", ["cloud", "a:cloud", "a:b-cloud", "A:CLOUD ", "a-cloud"])
def test_names_that_ollama_sends_away(name: str) -> None:
    assert is_cloud_model(name)


@pytest.mark.parametrize("name", ["", "cloudy", "a:cloud-b", "cloud:7b", "a:clouds"])
def test_names_that_stay(name: str) -> None:
    assert not is_cloud_model(name)


@pytest.mark.parametrize(
    "name",
    ["model", "messages", "max_tokens", "stop_token_ids", "top_k", "user", "seed", "n", "tools", "metadata", "name"],
)
def test_ordinary_parameters_are_not_taken_for_others(name: str) -> None:
    assert not is_reaiming(name)
