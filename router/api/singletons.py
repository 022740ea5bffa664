"""Headers that may stand in a request once (RFC 9110, 5.3, 5.5): of two, others on the way may read the other one.

Of these `Host` must stand there (RFC 9112, 3.2), but in HTTP/1.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from router.errors import InvalidRequest
from router.reply import Headers

SINGLE: Final = {
    b"authorization": "Authorization",
    b"content-length": "Content-Length",
    b"content-type": "Content-Type",
    b"host": "Host",
}


def judge_singletons(headers: Headers, first: Mapping[bytes, bytes], *, old: bool) -> None:
    """InvalidRequest that names one that is given more than once, or lacks. `first`: the headers by name;
    `old`: HTTP/1.0.
    """
    if b"host" not in first and not old:
        raise InvalidRequest("The header Host is missing: send it once.")
    if len(first) == len(headers):
        return
    counts = Counter(name for name, _ in headers)
    for name, spelled in SINGLE.items():
        if counts[name] > 1:
            raise InvalidRequest(f"The header {spelled} stands in this request {counts[name]} times: send it once.")
