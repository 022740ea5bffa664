"""The openai package for Node, installed from the lock file into the checkout's cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conversations import GOOD_TEXT, MODEL
from tests.sdk.conftest import Shop
from tests.service import environment

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "node-sdk"
FILES = ("package.json", "package-lock.json", "client.mjs", "cut.mjs")


@pytest.fixture(scope="module")
def installed() -> Path:
    """The directory where the scripts find their package."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("NODE IS MISSING: install nodejs and npm, then this proves that the Node SDK works unmodified")
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_bytes()
    fresh = (CACHE / "package-lock.json").is_file() and (CACHE / "package-lock.json").read_bytes() == lock
    for name in FILES:
        shutil.copyfile(HERE / name, CACHE / name)
    if not (fresh and (CACHE / "node_modules" / "openai").is_dir()):
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(CACHE / "npm")]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode != 0:
            pytest.skip(f"THE NODE SDK CANNOT BE INSTALLED: npm ci said {done.stderr[-400:]}")
    return CACHE


def run(directory: Path, script: str, shop: Shop) -> dict[str, Any]:
    command = ["node", script, shop.base_url, shop.key, MODEL]
    done = subprocess.run(
        command, cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("cut", ["", "split"])
def test_every_surface(shop: Shop, installed: Path, cut: str) -> None:
    shop.fake.become(fault=cut)
    assert run(installed, "client.mjs", shop) == {
        "chat": GOOD_TEXT,
        "chatStreamed": GOOD_TEXT,
        "completion": GOOD_TEXT,
        "completionStreamed": GOOD_TEXT,
        "embeddings": [[0.6, 0.8], [0.6, 0.8]],
        "models": [MODEL],
        "missing": {"name": "NotFoundError", "status": 404, "code": "model_not_found"},
        "unauthorised": {"name": "AuthenticationError", "status": 401, "code": "invalid_api_key"},
        "bad": {"name": "BadRequestError", "status": 400, "code": "invalid_request"},
    }


def test_a_cut_stream_throws(shop: Shop, installed: Path) -> None:
    shop.fake.become(fault="reset_mid_event")
    thrown = run(installed, "cut.mjs", shop)["thrown"]
    assert thrown is not None
    assert "not complete" in thrown["message"]
