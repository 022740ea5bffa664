"""The catalogue: every row refused with the provider's name, near misses not, and a Space is not a cloud."""

from __future__ import annotations

import pytest

from policies import DestinationError, Reason, cloud_provider_of, parse_destination
from policies.cloud import Provider, every_provider

ROWS = list(every_provider())


def hosts_of(row: Provider) -> list[str]:
    """Hosts that the row's pattern stands for."""
    if row.pattern.startswith("."):
        return [row.pattern[1:], f"api{row.pattern}", f"eu.api{row.pattern}"]
    return [row.pattern.replace("*", "eu-west-1")]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.source}-{row.pattern}" for row in ROWS])
def test_every_row_is_refused_and_its_near_misses_are_not(row: Provider) -> None:
    for host in hosts_of(row):
        with pytest.raises(DestinationError) as caught:
            parse_destination(f"https://{host}:443/v1")
        assert caught.value.reason is Reason.CLOUD_PROVIDER
        found = cloud_provider_of(host)
        assert found is not None
        assert found.name in str(caught.value)
        assert cloud_provider_of(f"{host}.evil.example") is None
        if "*" not in row.pattern:
            domain = host if row.pattern.startswith(".") else host.partition(".")[2]
            bare = domain == host
            near = f"not{host}" if bare else f"not-{host}"
            below_whole_domain = any(near.endswith(f".{other}") for other in WHOLE_DOMAINS)
            assert cloud_provider_of(near) is None or below_whole_domain or near_by_star(near)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com",
        "https://api.openai.com/v1",
        "HTTPS://API.OpenAI.com:443/v1",
        "api.openai.com",
        "//api.openai.com:443",
        "https://user:secret@api.openai.com:443/v1",
        "https://api.openai.com./v1?x#y",
        "http:\\\\api.openai.com\\v1",
        " https://api.openai.com/v1\n",
        "wss://api.openai.com:443",
        "https://acme.openai.azure.com/openai/deployments/x?api-version=1",
    ],
)
def test_a_cloud_is_named_as_one_however_badly_it_is_written(url: str) -> None:
    """How to write its address in canonical form is the last thing to tell."""
    with pytest.raises(DestinationError, match="belongs to the cloud provider") as caught:
        parse_destination(url)
    assert caught.value.reason is Reason.CLOUD_PROVIDER
    assert caught.value.instead == ""


WHOLE_DOMAINS = {row.pattern[1:] for row in ROWS if row.pattern.startswith(".")}


def near_by_star(host: str) -> bool:
    """`not-aiplatform.googleapis.com` is a region's name as far as anybody can tell."""
    found = cloud_provider_of(host)
    return found is not None and "*" in found.pattern


def test_the_catalogue_is_as_large_as_it_claims_and_says_where_it_is_from() -> None:
    assert len({row.name for row in ROWS}) >= 120
    assert len({row.pattern for row in ROWS}) >= 300
    assert all(row.source == "vendor" or row.source.startswith("litellm:") for row in ROWS)


def test_no_row_stands_twice_in_one_source() -> None:
    for vendor in (True, False):
        patterns = [row.pattern for row in ROWS if (row.source == "vendor") == vendor]
        assert len(patterns) == len(set(patterns))


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("corp.openai.azure.com", "azure"),
        ("corp.services.ai.azure.com", "azure"),
        ("corp.cognitiveservices.azure.com", "azure"),
        ("x.westeurope.inference.ml.azure.com", "azure"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws"),
        ("bedrock.eu-central-1.api.aws", "aws"),
        ("europe-west4-aiplatform.googleapis.com", "google"),
        ("aiplatform.googleapis.com", "google"),
        ("generativelanguage.googleapis.com", "google"),
        ("router.huggingface.co", "huggingface"),
        ("x1.eu-west-1.aws.endpoints.huggingface.cloud", "huggingface"),
        ("ollama.com", "ollama"),
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
    ],
)
def test_patterns_that_no_list_carries(host: str, provider: str) -> None:
    found = cloud_provider_of(host)
    assert found is not None
    assert found.name == provider


@pytest.mark.parametrize(
    "host",
    [
        "alice-llm.hf.space",
        "gpu.lan.example",
        "ec2-1-2-3-4.compute.amazonaws.com",
        "bedrock-runtime.amazonaws.com.evil.example",
        "bedrock-runtime.a.b.amazonaws.com",
        "bedrock-runtime..amazonaws.com",
        "aiplatform.googleapis.com.corp.example",
        "-aiplatform.googleapis.com",
        "openai.com.corp.example",
        "myopenai.com",
        "llm",
        "com",
        "co",
        "abcd-8000.proxy.runpod.net",
        "model-runner.docker.internal",
        "10.0.0.1",
    ],
)
def test_what_is_not_a_cloud(host: str) -> None:
    assert cloud_provider_of(host) is None
