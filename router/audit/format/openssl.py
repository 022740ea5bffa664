"""HMAC as OpenSSL makes it: what `hmac.new` wraps, for two thirds of its price; a record is signed with it.

A Python built without OpenSSL has the slower one. A gate does not run there, for want of TLS; a verifier may.
"""

from __future__ import annotations

try:
    from _hashlib import HMAC, hmac_new
except ImportError:
    from hmac import HMAC  # type: ignore[assignment] # of another class, with the methods that are called here
    from hmac import new as hmac_new  # type: ignore[assignment] # as above; it takes no memoryview, which a gate gives

__all__ = ["HMAC", "hmac_new"]
