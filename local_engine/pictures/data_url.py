"""A picture that a request carries with it. An address to fetch it from is refused: nothing is fetched."""

from __future__ import annotations

import base64
import binascii
import re

from local_engine.pictures.bounds import BadPicture

KINDS = re.compile(r"data:image/(?:png|jpeg|jpg);base64,", re.IGNORECASE)


def picture_of(url: str) -> bytes:
    """The bytes of a `data:` URL (RFC 2397) of a PNG or JPEG."""
    found = KINDS.match(url)
    if found is None:
        scheme = url[:40].partition(":")[0]
        if scheme.lower() == "data":
            raise BadPicture("it is read as data:image/png;base64,… or data:image/jpeg;base64,… only")
        raise BadPicture("nothing is fetched from elsewhere: send the picture itself, as data:image/png;base64,…")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise BadPicture("its base64 is not valid") from None
