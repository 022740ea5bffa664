"""llama.cpp behind a narrow door: the only package that imports llama_cpp. Import it after `library.select`.

Every call here belongs to the engine thread (the OpenMP team of a second thread would fight the first for the
cores), but for the tokeniser, which only reads the vocabulary.
"""

from __future__ import annotations

import importlib.util
import sys


def _leave_front_out() -> None:
    """The modules of the bindings are loaded one by one: their package's own file would load chat formats, a cache on
    disk and more that is not used here, in a tenth of a second of every start and restart.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is not None:
        sys.modules.setdefault("llama_cpp", importlib.util.module_from_spec(spec))


_leave_front_out()
