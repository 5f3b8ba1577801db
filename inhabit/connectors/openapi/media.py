"""Which of several media types is used, and how a value becomes one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

__all__ = ["Kind", "choose", "kind_of", "media_of"]

Kind = Literal["json", "form", "multipart", "text", "binary"]

_ORDER: tuple[Kind, ...] = ("json", "form", "multipart", "text", "binary")
_TEXT_SUFFIXES = ("+xml", "+yaml", "/xml", "/yaml", "/x-yaml", "/javascript", "/graphql", "/sql", "/x-ndjson", "/ndjson",
                  "/jsonl", "/x-www-form-urlencoded", "/csv", "/jwt", "/pem-certificate-chain", "/json-seq")


def media_of(content_type: str) -> str:
    """`type/subtype` in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def kind_of(content_type: str) -> Kind:
    media = media_of(content_type)
    if media in {"", "*/*", "application/*"} or media.endswith(("/json", "+json", "/x-json", "/*+json")):
        return "json"
    if media == "application/x-www-form-urlencoded":
        return "form"
    if media.startswith("multipart/"):
        return "multipart"
    if media.startswith("text/") or media.endswith(_TEXT_SUFFIXES):
        return "text"
    return "binary"


def choose(content_types: Iterable[str]) -> str | None:
    """The one that carries structured data best; the document's order decides among equals."""
    ranked = sorted(content_types, key=lambda media: _ORDER.index(kind_of(media)))
    return ranked[0] if ranked else None
