"""How many model tokens a text costs, estimated from above without a tokenizer.

Made for declarations and English: pieces are counted the way byte-pair vocabularies of 200,000 entries cut
them (a word with its leading space, digits in threes, runs of punctuation). `bench/footprint.py` compares the
estimate with real counts.
"""

from __future__ import annotations

import re

__all__ = ["estimate_tokens"]

_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]{1,3}|\n\s*|[ \t]+|[^\w\s]+|_+|[^\x00-\x7f]", re.ASCII)
_WORD_CHARS = 7


def estimate_tokens(text: str) -> int:
    """Tokens, rather too many than too few."""
    count = 0
    for piece in _PIECE.findall(text):
        first = piece[0]
        if first == " ":
            continue
        if first.isascii() and first.isalpha():
            count += 1 + (len(piece) - 1) // _WORD_CHARS if not piece.isupper() else -(-len(piece) // 3)
        elif first in "_\n\t" or first.isdigit():
            count += 1
        else:
            count += -(-len(piece) // 2) if first.isascii() else 1
    return count
