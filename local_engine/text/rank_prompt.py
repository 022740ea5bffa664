"""The prompt of a ranking model that has one of its own, with a question and a text put in."""

from __future__ import annotations

import re

from local_engine.text.template import Part

PLACES = re.compile(r"(\{query\}|\{document\})")


def rank_parts(prompt: str, query: str, document: str) -> list[Part]:
    """Trusted runs are the prompt's; what looks like a place within a question or a text is left as it is."""
    given = {"{query}": query, "{document}": document}
    return [Part(given.get(run, run), trusted=run not in given) for run in PLACES.split(prompt) if run]
