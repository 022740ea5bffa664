"""Ranking through the router: to a server over HTTP, and to an engine of its own with a model that ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, MODEL, error_of
from tests.local_engine.conftest import BUILT
from tests.local_engine.made import tiny_ranker
from tests.service import running, until

PATHS = ["/v1/rerank", "/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]
ASKED = {"model": MODEL, "query": "what?", "documents": ["one", {"text": "two"}, "three"], "top_n": 2}


@pytest.mark.parametrize("path", PATHS)
def test_whichever_way_a_client_asks_an_upstream_is_asked_at_rerank(town: Town, path: str) -> None:
    answer = town.service.post(path, ASKED)
    assert [row["index"] for row in answer.json()["results"]] == [2, 1]
    [asked] = town.one.asked()
    assert asked["path"] == "/v1/rerank"
    decision = town.service.records("decision")[-1]["body"]
    assert (decision["endpoint"], len(decision["message_macs"])) == ("rerank", 4)
    assert path in town.service.get("/").json()["endpoints"]


def test_a_question_that_ranks_goes_on_to_the_next_tier(town: Town) -> None:
    town.one.become(fault="status_500")
    answer = town.service.post("/v1/rerank", ASKED)
    assert (answer.status_code, answer.headers["x-ringfence-tier"]) == (200, "tier-2")


def test_documents_that_would_have_to_be_fetched_are_refused(town: Town) -> None:
    answer = town.service.post("/v1/rerank", {**ASKED, "documents": [{"image": "https://example.org/a.png"}]})
    assert (answer.status_code, error_of(answer.content)["param"]) == (403, "documents[0].image")
    assert town.service.records("denial")[-1]["body"]["endpoint"] == "rerank"
    assert town.one.asked() == []


ENGINE = """version: 1
upstreams: {local: {engine: ranker}}
engines: {ranker: {model: {path: ranker.gguf}, context: 256, threads: 1}}
tiers: [{name: t, upstreams: [local]}]
models: {m: {tiers: [t]}}
"""


@pytest.mark.engine
def test_an_engine_of_ours_ranks_behind_the_router(tmp_path: Path) -> None:
    if not BUILT:
        pytest.skip("THE ENGINE IS NOT COMPILED: run `make` first, then these tests prove something")
    tiny_ranker(tmp_path / "ranker.gguf")
    with running(tmp_path, ENGINE, RINGFENCE_WORKERS="1") as service:
        until(lambda: service.get("/health").status_code == 200, 60, "the model is ready")
        answer = service.post("/v2/rerank", {"query": "river ?", "documents": ["bad stone", "good stone"], "top_n": 1})
        assert [row["index"] for row in answer.json()["results"]] == [1]
        assert (answer.headers["x-ringfence-upstream"], answer.json()["model"]) == ("local", "m")
        refused = service.post(CHAT, {"messages": [{"role": "user", "content": "hi"}]})
        assert (refused.status_code, error_of(refused.content)["code"]) == (501, "unsupported_endpoint")
