"""Pictures through the router: to an engine of ours in its cage, and to servers elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Town
from tests.e2e.conversations import CHAT, MODEL, error_of
from tests.local_engine.made import tiny_model, tiny_projector
from tests.local_engine.pictures import JPEG, png, shown
from tests.service import running, until

SEES = (Path(sys.prefix) / "engine" / "native-lib" / "libmtmd.so").exists()
ENGINE = """version: 1
upstreams: {local: {engine: seer}}
engines: {seer: {model: {path: model/m.gguf}, mmproj: eyes/e.gguf, context: 1024, parallel: 2, threads: 1}}
tiers: [{name: t, upstreams: [local]}]
models: {m: {tiers: [t]}}
"""


@pytest.mark.engine
def test_an_engine_in_its_cage_sees_what_a_request_carries(tmp_path: Path) -> None:
    if not SEES:
        pytest.skip("THE ENGINE IS NOT COMPILED, OR WITHOUT EYES: run `make` first, then this proves something")
    for folder in ("model", "eyes"):
        (tmp_path / folder).mkdir()
    tiny_model(tmp_path / "model" / "m.gguf", heed=3)
    tiny_projector(tmp_path / "eyes" / "e.gguf")
    with running(tmp_path, ENGINE, RINGFENCE_WORKERS="1") as service:
        until(lambda: service.get("/health").status_code == 200, 60, "the model is ready")

        def said(*pictures: bytes | str) -> str:
            answer = service.post(CHAT, {"messages": shown(*pictures), "max_tokens": 8, "temperature": 0})
            assert answer.status_code == 200, answer.text
            text: str = answer.json()["choices"][0]["message"]["content"]
            return text

        assert len({said(png(seed=1)), said(png(seed=2)), said(JPEG)}) == 3
        assert len(service.records("decision")[-1]["body"]["message_macs"]) == 2
        broken = service.post(CHAT, {"messages": shown(png()[:200])})
        assert (broken.status_code, error_of(broken.content)["code"]) == (400, "invalid_picture")
        assert service.get("/health").status_code == 200


def test_a_picture_goes_unchanged_to_who_is_asked_and_is_remembered_by_digest(town: Town) -> None:
    answer = town.service.post(CHAT, {"model": MODEL, "messages": shown(JPEG)})
    assert answer.status_code == 200
    [asked] = town.one.asked()
    assert "data:image/png;base64," in asked["body"]
    macs = town.service.records("decision")[-1]["body"]["message_macs"]
    town.service.post(CHAT, {"model": MODEL, "messages": shown(JPEG, text="And now?")})
    later = town.service.records("decision")[-1]["body"]["message_macs"]
    assert (macs[1] == later[1], macs[0] == later[0]) == (True, False)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "http://169.254.169.254/x", "file:///etc/passwd", "a.png"]
)
def test_a_picture_that_would_have_to_be_fetched_is_refused_and_nobody_is_asked(town: Town, url: str) -> None:
    answer = town.service.post(CHAT, {"model": MODEL, "messages": shown(url)})
    error = error_of(answer.content)
    assert (answer.status_code, error["param"]) == (403, "messages[0].content[1].image_url.url")
    assert "data: URL" in error["message"]
    assert town.service.records("denial")[-1]["body"]["reason"] == "remote_content"
    assert town.one.asked() == []
