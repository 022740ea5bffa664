"""A library of weights may be fetched from, and never be asked; a cloud is neither."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from policies import DestinationError, Reason, decide_egress, decide_listing, parse_destination
from policies.weights import provider_barring

PUBLIC = [ip_address("93.184.215.14")]


def test_the_library_is_no_cloud_where_only_weights_are_fetched() -> None:
    library = replace(parse_destination("https://huggingface.co:443", weights_only=True), third_party_host=True)
    assert library.origin == library.url == "https://huggingface.co:443"
    assert decide_listing(library).allowed
    assert decide_egress(library, PUBLIC).allowed


def test_the_same_host_is_refused_everywhere_else() -> None:
    with pytest.raises(DestinationError, match="cloud provider huggingface"):
        parse_destination("https://huggingface.co:443")
    library = replace(parse_destination("https://huggingface.co:443", weights_only=True), third_party_host=True)
    prompts = replace(library, weights_only=False)
    assert decide_listing(prompts).reason is Reason.CLOUD_PROVIDER
    assert decide_egress(prompts, PUBLIC).reason is Reason.CLOUD_PROVIDER


@pytest.mark.parametrize("host", ["router.huggingface.co", "api.openai.com", "api-inference.huggingface.co"])
def test_a_cloud_is_no_library(host: str) -> None:
    with pytest.raises(DestinationError, match="cloud provider"):
        parse_destination(f"https://{host}:443", weights_only=True)
    assert provider_barring(host, weights_only=True) is not None


def test_addresses_are_judged_as_any_others() -> None:
    library = replace(parse_destination("https://huggingface.co:443", weights_only=True), third_party_host=True)
    assert decide_egress(library, [ip_address("10.0.0.1")]).reason is Reason.FORBIDDEN_ADDRESS
    assert parse_destination("http://10.0.0.1:80", weights_only=True).weights_only
