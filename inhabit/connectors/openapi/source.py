"""Where a document comes from, and how its text becomes data. Knows nothing of OpenAPI.

A location is an absolute file path or an http(s) URL. JSON is read by orjson; YAML by the C loader with the
YAML 1.2 core rules, so that `no`, `on` and dates stay the text that their author meant.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import orjson
import yaml

from inhabit.errors import ConfigError

__all__ = ["MAX_DOCUMENT_BYTES", "digest", "is_url", "joined", "location_of", "parse", "read_file"]

MAX_DOCUMENT_BYTES = 128 * 1024 * 1024
"""The largest document known is 47 MB; parsed data is about ten times its text."""
_URL = re.compile(r"https?://", re.IGNORECASE)


class _Yaml12(yaml.CSafeLoader):
    """The core schema of YAML 1.2: booleans are true/false, no dates, no octal with a leading zero."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the loader's own protocol
        "~": [("tag:yaml.org,2002:null", re.compile(r"~\Z"))],
        "n": [("tag:yaml.org,2002:null", re.compile(r"null\Z"))],
        "N": [("tag:yaml.org,2002:null", re.compile(r"(?:Null|NULL)\Z"))],
        "": [("tag:yaml.org,2002:null", re.compile(r"\Z"))],
        "<": [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))],
        **{char: [("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"))] for char in "tTfF"},
        **{char: [("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")),
                  ("tag:yaml.org,2002:float", re.compile(r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)\Z"))]
           for char in "-+.0123456789"},
    }


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


def location_of(source: str | Path) -> str:
    """The absolute form of what an operator wrote."""
    text = str(source)
    return urldefrag(text).url if is_url(text) else str(Path(text).expanduser().resolve())


def joined(base: str, reference: str) -> str:
    """The location that a relative reference means, seen from the document at `base`."""
    if is_url(base) or is_url(reference):
        return urldefrag(urljoin(base, reference)).url
    return str((Path(base).parent / reference).resolve())


def read_file(location: str) -> bytes:
    """Raises `ConfigError` naming the file."""
    try:
        size = Path(location).stat().st_size
        if size > MAX_DOCUMENT_BYTES:
            raise ConfigError(f"{location} has {size} bytes", fix=f"a document has at most {MAX_DOCUMENT_BYTES} bytes")
        return Path(location).read_bytes()
    except OSError as error:
        raise ConfigError(f"{location}: {error.strerror or 'cannot be read'}", fix="give the path of an OpenAPI document") from None


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def parse(body: bytes, location: str) -> Any:
    """JSON or YAML to plain data. Raises `ConfigError` with line and column of the first mistake."""
    text = body.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if text.lstrip()[:1] in (b"{", b"[") and _suffix(location) == ".json":
            raise ConfigError(f"{location} is not JSON: {error}", fix="repair the document at that line") from None
    try:
        return yaml.load(text, Loader=_Yaml12)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"{location} is neither JSON nor YAML{where}: {problem}", fix="repair the document there") from None
    except (ValueError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"{location} is neither JSON nor YAML: {type(error).__name__}", fix="repair the document") from None


def _suffix(location: str) -> str:
    return Path(urlsplit(location).path if is_url(location) else location).suffix.lower()
