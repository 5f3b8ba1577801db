"""Tokens that their holders can narrow by themselves: see `chain` for the form, `keys` for what signs them."""

from inhabit.tokens.chain import MAX_BLOCKS, PREFIX, Token, attenuate, mint, read, shown
from inhabit.tokens.keys import TokenKeys

__all__ = ["MAX_BLOCKS", "PREFIX", "Token", "TokenKeys", "attenuate", "mint", "read", "shown"]
