"""POST /v1/rerank with models that have a ranking head, made here."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_engine.jobs import Cancel, Delivery, EmbeddingTicket, Failed, Job, Message, Sampling, Stop, Ticket
from local_engine.launch import EngineSpec
from local_engine.text.rank_prompt import rank_parts
from local_engine.text.template import Part
from local_engine.worker.ranking import NO_TEXT, RankLoop
from tests.local_engine.conftest import serving
from tests.local_engine.made import tiny_causal_ranker, tiny_ranker

DOCUMENTS = ["bad stone", "good good stone", "river", "good bad stone river"]


def spec_of(model: Path) -> EngineSpec:
    return EngineSpec(model=str(model), context=256, threads=1)


@pytest.fixture(scope="module")
def ranker(built: None, tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("ranker")
    with serving(folder, state_dir, spec_of(tiny_ranker(folder / "ranker.gguf"))) as client:
        yield client


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/rerank", json={"query": "river ?", "documents": DOCUMENTS, **body})


@pytest.mark.engine
def test_texts_come_back_with_the_best_first(ranker: httpx.Client) -> None:
    found = ask(ranker).json()
    assert [one["index"] for one in found["results"]] == [1, 3, 2, 0]
    scores = [one["relevance_score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert found["usage"] == {"prompt_tokens": 4 * 4 + 2 + 3 + 1 + 4, "total_tokens": 26}
    assert (found["object"], found["model"]) == ("list", "small")


@pytest.mark.engine
def test_as_many_as_wanted_with_their_texts_where_wanted(ranker: httpx.Client) -> None:
    documents = [{"text": "bad"}, "good", "good"]
    found = ask(ranker, documents=documents, top_n=2, return_documents=True, model="small").json()["results"]
    assert [(one["index"], one["document"]) for one in found] == [(1, {"text": "good"}), (2, {"text": "good"})]
    assert ranker.post("/rerank", json={"query": "?", "documents": ["good"]}).status_code == 200


@pytest.mark.engine
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "good"}, "documents"),
        ({"documents": ["good", 7]}, "documents[1]"),
        ({"documents": [{"title": "x", "text": "y"}]}, "documents[0]"),
        ({"documents": ["good " * 70]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
        ({"max_chunks_per_doc": 3}, "max_chunks_per_doc"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_its_name(ranker: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = ask(ranker, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.engine
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/completion", "/generate"]
)
def test_a_model_that_ranks_writes_nothing_and_says_so(ranker: httpx.Client, path: str) -> None:
    answer = ranker.post(path, json={"model": "small"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "unsupported_endpoint")
    assert "POST /v1/rerank" in answer.json()["error"]["message"]


@pytest.mark.engine
def test_a_model_that_ranks_is_warmed_and_described_as_any_other(ranker: httpx.Client) -> None:
    assert ranker.post("/warm").json()["status"] == "warm"
    health = ranker.get("/health").json()
    assert (health["status"], health["context"], health["running"]) == ("ok", 64, 0)


@pytest.mark.engine
def test_a_model_with_a_prompt_of_its_own_reads_texts_in_chunks(built: None, tmp_path: Path, state_dir: Path) -> None:
    with serving(tmp_path, state_dir, spec_of(tiny_causal_ranker(tmp_path / "causal.gguf"))) as client:
        short, long = ["A stone.", "A river."], ["word " * 150, "word " * 149 + "stone "]
        found = ask(client, documents=[*short, *long, "<|im_end|>"]).json()
        scores = {one["index"]: one["relevance_score"] for one in found["results"]}
        assert all(0 < score < 1 for score in scores.values())
        assert len(set(scores.values())) == 5
        alone = ask(client, documents=[long[1]]).json()
        assert alone["results"][0]["relevance_score"] == pytest.approx(scores[3], abs=1e-6)
        marks = ask(client, documents=["<|im_end|>"]).json()["usage"]["prompt_tokens"]
        assert marks > ask(client, documents=["stone"]).json()["usage"]["prompt_tokens"], (
            "it was read as a control token"
        )
        assert client.post("/tokenize", json={"content": "stone"}).json()["tokens"]


def test_places_within_a_question_are_not_filled() -> None:
    parts = rank_parts("Q {query} D {document}!", "what is {document}", "x {query}")
    assert parts == [
        Part("Q ", trusted=True),
        Part("what is {document}", trusted=False),
        Part(" D ", trusted=True),
        Part("x {query}", trusted=False),
        Part("!", trusted=True),
    ]


class Counting:
    """A ranker whose score is the text's first token."""

    closed = False

    def score(self, tokens: Sequence[int]) -> float:
        return float(tokens[0])

    def close(self) -> None:
        self.closed = True


def ticket(heard: list[Any], *texts: tuple[int, ...]) -> EmbeddingTicket:
    return EmbeddingTicket(texts, heard.append)


def test_tickets_are_ranked_in_turn_and_a_cancelled_one_leaves_no_score_behind() -> None:
    heard: dict[str, list[Any]] = {name: [] for name in "abcd"}
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    ranker = Counting()

    def post(news: list[Delivery]) -> None:
        for deliver, event in news:
            deliver(event)

    loop = RankLoop(ranker, 3, post)
    tickets = {name: ticket(heard[name], (ord(name),), (1,)) for name in "abc"}
    for name in "abc":
        inbox.put(tickets[name])
    inbox.put(Ticket(7, Job((1,), 1, Sampling(0)), heard["d"].append))
    assert loop.take_in(inbox)
    assert heard["d"] == [NO_TEXT]
    assert (loop.occupancy().running, loop.occupancy().waiting, loop.occupancy().threads) == (1, 2, 3)
    loop.advance()
    inbox.put(Cancel(tickets["a"]))
    inbox.put(Cancel(replace(tickets["b"])))  # nobody's
    inbox.put(Cancel(Ticket(7, Job((1,), 1, Sampling(0)), heard["d"].append)))
    assert loop.take_in(inbox)
    for _ in range(3):
        loop.advance()
    assert (heard["a"], heard["b"]) == ([], [[[98.0], [1.0]]])
    inbox.put(Stop())
    assert not loop.take_in(inbox)
    loop.fail_all(Failed("engine_error", "ended"))
    loop.close()
    assert heard["c"] == [Failed("engine_error", "ended")]
    assert ranker.closed
