"""How many model tokens a JSON text takes at most, without a tokenizer.

Measured against o200k (`tests/runtime/test_tokens.py` holds it against the encoder where that is at hand). A byte-pair
encoder merges every neighbouring pair that its vocabulary has, so within letters two single-letter tokens never stand
side by side unless their pair is one of a few rare ones: m letters take at most (2m+1)/3 tokens. Digits go in threes.
Of other scripts every byte counts, but for letters that are one token each. Only common English words, which are one
token with or without a space before them, are counted as they are; what is random, or made to look cheap, is not.
"""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["BYTES_AT_MOST", "token_bound"]

BYTES_AT_MOST = 16
"""A token is never counted for more bytes than this, so that a long text need not be walked to know that it is long."""

_LIST = """
a able about account action active add address after all also amount an and any api app are as at back base based be
because been before being best between body both but by call can case category change check city class close code color come
company complete content copy cost could count country create created currency current custom customer data date day days default
delete description detail details did different do does done down each email enabled end error event every example false field
file files find first for found from full general get give given go good group had has have he her here high his home host
hour how html http id if image in index info information input into is it item items its just keep key kind know label
language large last later left length less level like limit line link list local location long look low made main make manager
many map match may me mean media member message method mode model month more most move much must my name need network
never new next no node not note now null number object of off office on one only open option or order orders other our out over
own page parent part path pay payment phone place point position post present price private process product products
profile project public question quick read ready record region release remote remove report request required reset
resource response rest result results return right role rule run same save say school script search second section see select
self send sent server service session set settings she short should show side sign simple since single site size small so
some source start state status step still stop store street string such support system table tag take target team test text than
that the their them then there these they thing this those three through time title to today token total true two type under
unique unit until up update updated us use used user users valid value values version very view want was water way we web week
well were what when where which while who why will with without word work world would write year years yes you your zone
"""
_WORDS = frozenset(_LIST.split())
_ONE_TOKEN = frozenset("абвгдежзийклмнопрстуфхцчшщыьэюяАБВГДЕЗИКЛМНОПРСТУФХЧЭЯ" "αβγδεικλμνοπρστυω" "äöüßéèàçñáíóúêâôîëÄÖÜÉ’“”–—…•€£°§"
                       "のにはをたがでてとしれさいなもあうえおかきくけこすせそちつひまやゆよらりるろわん")
_RARE = re.compile(
    r"(?=bq|gk|gq|jv|jz|kq|kz|lq|nq|qf|qg|qj|qk|qv|qz|rj|tq|wq|wz|xg|xj|xk|xq|xv|xw|yq|zj|zq|zv"
    r"|EJ|FJ|FQ|FZ|GJ|GQ|GZ|IY|JH|JQ|JX|JY|JZ|KJ|KQ|KX|KZ|LJ|LQ|LZ|MZ|NQ|OQ|OZ|PZ|QF|QG|QH|QJ|QK|QO|QW|QX|QY|QZ|RZ|TQ|UO|UQ|VJ|VQ"
    r"|VY|VZ|WJ|WQ|WZ|XG|XH|XJ|XK|XQ|XU|XW|YB|YF|YH|YI|YJ|YQ|YV|ZB|ZC|ZJ|ZK|ZL|ZP|ZQ|ZV)")
_PIECE = re.compile(
    r"(?P<word>(?: |(?<![A-Za-z\x7f-\U0010ffff]))[A-Z]?[a-z]+(?![A-Za-z'\x7f-\U0010ffff]))|(?P<letters> ?[a-z]+| ?[A-Z]+)|(?P<digits>[0-9]{1,3})"
    r"|(?P<spaces> +)|(?P<foreign>[^\x00-\x7f]+)|(?P<other>.)", re.DOTALL)


def token_bound(body: bytes) -> int:
    """An upper bound of the tokens of a JSON text in UTF-8."""
    total = 0
    for found in _PIECE.finditer(body.decode()):
        kind, piece = found.lastgroup, found[0]
        if kind == "word":
            total += 1 if piece.strip().lower() in _WORDS else _letters(piece)
        elif kind == "letters":
            total += _letters(piece)
        elif kind == "spaces":
            total += 1 + len(piece) // BYTES_AT_MOST
        elif kind == "foreign":
            total += sum(1 if character in _ONE_TOKEN else len(character.encode()) for character in piece)
        else:
            total += 1
    return total


def _letters(run: str) -> int:
    """A capital before small letters is a token of its own in the worst case."""
    capital = run.lstrip(" ")[0].isupper() and run[-1].islower()
    if capital:
        return 1 + run.startswith(" ") + _letters(run.lstrip(" ")[1:])
    cuts = [0, *(rare.start() + 1 for rare in _RARE.finditer(run)), len(run)]
    return sum((2 * (end - start) + 1) // 3 for start, end in pairwise(cuts))
