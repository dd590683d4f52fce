"""A labeler for the sample reviews: sentiment by counting words, deterministic and modest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from annotation_queue import SkipItem

if TYPE_CHECKING:
    from annotation_queue import JsonValue, QueueItem


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POSITIVE: Final = _words(
    """
    accurate amazing best brilliant clear clearly correct delighted easy excellent fantastic fast friendly fixed glad
    good great happy helpful impressed instantly kind love loved nice patient perfect polite precise quick quickly
    recommend relieved resolved right saved smooth smoothly solved spotless superb thank thanks thorough useful well
    wonderful
    """
)
_NEGATIVE: Final = _words(
    """
    angry annoying awful bad broken bug confusing crash crashed crashes delay disappointed dropped error errors failed
    fails frustrating hallucinated ignored impossible incorrect late lost misleading missing outdated overcharged poor
    repeated rude slow stuck terrible unhelpful unresolved useless vague waited waste worse worst wrong
    """
)
_NEGATIONS: Final = _words("not no never isn't wasn't didn't don't doesn't couldn't can't cannot hardly without")
_REACH: Final = 3
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def sentiment(item: QueueItem) -> JsonValue:
    """Label a review by its words.

    A word counts the other way round where one of the three words before it negates it.

    Args:
        item: Its payload has the review as ``text``.

    Returns:
        ``label`` (positive, negative, mixed or neutral), and how many words spoke for each side.

    Raises:
        SkipItem: There is no text to judge.
    """
    text = (item.payload or {}).get("text")
    if not isinstance(text, str) or not (
        words := _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    ):
        raise SkipItem("no text")
    positive = negative = 0
    for index, word in enumerate(words):
        if word in _POSITIVE or word in _NEGATIVE:
            negated = any(before in _NEGATIONS for before in words[max(0, index - _REACH) : index])
            speaks_for = (word in _POSITIVE) is not negated
            positive += speaks_for
            negative += not speaks_for
    if positive and negative:
        label = "mixed" if abs(positive - negative) <= 1 else ("positive" if positive > negative else "negative")
    else:
        label = "positive" if positive else "negative" if negative else "neutral"
    return {"label": label, "positive_words": positive, "negative_words": negative}
