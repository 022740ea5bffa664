"""In which language is a text written: told by its script, then by the commonest words. Cheap, and `other` in doubt."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Final

OTHER: Final = "other"
_SAMPLE: Final = 4000  # characters: more would not tell more
_FEWEST_WORDS: Final = 2  # common words of one language before it is named
# Blocks of Unicode whose letters stand for one language, or for one of a family that is named by its largest.
_SCRIPTS: Final = (
    ("ja", "[\u3040-\u30ff]"),  # before Chinese: Japanese texts hold Han characters too
    ("ko", "[\uac00-\ud7af]"),
    ("zh", "[\u4e00-\u9fff]"),
    ("ru", "[\u0400-\u04ff]"),
    ("ar", "[\u0600-\u06ff]"),
    ("he", "[\u0590-\u05ff]"),
    ("el", "[\u0370-\u03ff]"),
    ("th", "[\u0e00-\u0e7f]"),
    ("hi", "[\u0900-\u097f]"),
)
_SHARE: Final = 5  # a script counts when at least one character in so many is of it
_WORDS: Final = {
    "en": "the and is are was with for that this what how you have not can from which would please a of to in it",
    "de": "der die das und ist sind nicht ein eine mit für auf wie ich du sie es den dem zu von im bitte kann warum",
    "fr": "le la les et est sont pas un une avec pour sur comment je vous il elle des du ce que qui dans en pourquoi",
    "es": "el la los las y es son no un una con para por cómo yo usted de del que en qué se lo más porque puede",
    "it": "il lo la gli e è sono non un una con per come io di del che in si più perché puoi questo della sono nel",
    "pt": "o a os as e é são não um uma com para por como eu você de do da que em se mais porque pode isso na no",
    "nl": "de het een en is zijn niet met voor op hoe ik je van dat die te in wat waarom kan deze naar om ook maar",
}
_OF: Final = {language: frozenset(words.split()) for language, words in _WORDS.items()}
LANGUAGES: Final = (*sorted({*_OF, *(language for language, _ in _SCRIPTS)}), OTHER)
_WORD: Final = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """One of LANGUAGES (ISO 639-1), or `other` when neither script nor words tell."""
    sample = text[:_SAMPLE]
    letters = sum(map(len, _WORD.findall(sample)))
    if not letters:
        return OTHER
    for language, script in _SCRIPTS:
        if len(_compiled(script).findall(sample)) * _SHARE >= letters:
            return language
    return _by_words(_WORD.findall(sample.lower()))


@cache
def _compiled(script: str) -> re.Pattern[str]:
    """When it is first needed: few services choose by language, and all of them start."""
    return re.compile(script)


def _by_words(words: list[str]) -> str:
    """The language whose common words stand there most; a tie, or hardly any, tells nothing."""
    counted = Counter(words)
    found = sorted(((sum(counted[word] for word in common), name) for name, common in _OF.items()), reverse=True)
    (most, language), (second, _) = found[0], found[1]
    return language if most >= _FEWEST_WORDS and most > second else OTHER
