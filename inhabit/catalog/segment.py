"""The index of one connector: what is kept on disk, and how it is opened again.

A segment is one file: an 8-byte length, a JSON header (format version, fingerprint, names, vocabularies, where
each array lies), then the arrays, mapped on opening. It is written to a temporary name and renamed, so a
reader sees a whole file or none. Any defect in a file, or another version or fingerprint, means "no cache":
the segment is built anew from the connector, which is asked for its operations only then.

Holds names and weights only; declarations are asked of the connector when they are needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from inhabit.catalog.documents import Document, document_of
from inhabit.catalog.grams import GramBuilder, Grams
from inhabit.catalog.nodes import references
from inhabit.catalog.postings import Postings, PostingsBuilder
from inhabit.catalog.words import Lexer
from inhabit.contracts.operation import Operation, Schema

__all__ = ["FORMAT", "Segment", "SegmentBuilder"]

FORMAT = 9
"""Raise when the file, the terms or the weights change: older files are then rebuilt."""
_MAGIC = b"inhabidx"
_ALIGN = 64


class Segment:
    """An opened index. `names` are operations; documents `0..len(names)-1` are theirs. `types` pairs a type's
    name with the number of an operation whose definitions hold it."""

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.fingerprint: str = header["fingerprint"]
        self.names: list[str] = header["names"]
        self.number = {name: number for number, name in enumerate(self.names)}
        self.types: list[tuple[str, int]] = [(name, holder) for name, holder in header["types"]]
        self.operations = Postings(header["terms"], _part(arrays, "operations"))
        self.entities: list[str] = header["entities"]
        self.entity_number = {name: number for number, name in enumerate(self.entities)}
        self.name_grams = Grams(_part(arrays, "name_grams"))
        self.term_grams = Grams(_part(arrays, "term_grams"))
        self.arrays = arrays

    def row(self, table: str, number: int) -> NDArray[Any]:
        """Row `number` of a ragged table stored as `TABLE.offsets` and `TABLE.values`."""
        offsets = self.arrays[f"{table}.offsets"]
        return self.arrays[f"{table}.values"][offsets[number] : offsets[number + 1]]

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> Segment | None:
        """The cached segment, or None when it is missing, of another version, or damaged."""
        try:
            data = np.memmap(path, dtype=np.uint8, mode="r")
            if bytes(data[:8]) != _MAGIC:
                return None
            size = int.from_bytes(bytes(data[8:16]), "little")
            header = orjson.loads(bytes(data[16 : 16 + size]))
            start = _aligned(16 + size)
            if header["format"] != FORMAT or header["fingerprint"] != fingerprint or start + header["bytes"] != len(data):
                return None
            arrays = {name: _view(data[start:], *place) for name, place in header["arrays"].items()}
            return cls(header, arrays)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    @staticmethod
    def path(cache: Path, connector: str) -> Path:
        readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in connector)[:40]
        return cache / f"{readable}-{hashlib.sha256(connector.encode()).hexdigest()[:12]}.index"


class SegmentBuilder:
    """Collects operations (or bare documents), then gives a `Segment` and writes its file."""

    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._names: list[str] = []
        self._postings = PostingsBuilder()
        self._needs: list[Sequence[str]] = []
        self._finds: list[Mapping[str, float]] = []
        self._entities: dict[str, int] = {}
        self._scopes: dict[int, Mapping[str, Schema]] = {}
        self._types: dict[str, tuple[int, Mapping[str, Schema]]] = {}
        self._users: dict[str, list[int]] = {}

    def operation(self, operation: Operation) -> None:
        number = len(self._names)
        self.document(document_of(operation, self._lexer))
        definitions = operation.definitions
        if definitions and id(definitions) not in self._scopes:
            self._scopes[id(definitions)] = definitions
            for name in definitions:
                self._types.setdefault(name, (number, definitions))
        for name in set(references([operation.input_schema, operation.output_schema])):
            self._users.setdefault(name, []).append(number)

    def document(self, document: Document) -> None:
        self._names.append(document.name)
        self._postings.add(document.fields)
        self._needs.append(document.needs)
        self._finds.append(document.finds)
        for entity in (*document.needs, *document.finds):
            self._entities.setdefault(entity, len(self._entities))

    def build(self, fingerprint: str, path: Path | None = None) -> Segment:
        """The segment; written to `path` where one is given (a failure to write is not an error: no cache)."""
        header, arrays = self._content(fingerprint)
        if path is not None:
            _write(path, header, arrays)
        return Segment(header, arrays)

    def _content(self, fingerprint: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        terms, operations = self._postings.arrays()
        type_names, parents = self._index_types()
        arrays: dict[str, NDArray[Any]] = {}
        parts = {"operations": operations, "name_grams": _grams(self._names), "term_grams": _grams(terms)}
        for part, columns in parts.items():
            arrays.update({f"{part}.{name}": column for name, column in columns.items()})
        arrays.update(_ragged("needs", [[self._entities[e] for e in row] for row in self._needs]))
        arrays.update(_ragged("type_users", [self._users.get(name, []) for name in type_names]))
        arrays.update(_ragged("type_parents", parents))
        arrays.update(self._finders())
        header = {
            "format": FORMAT, "fingerprint": fingerprint, "names": self._names, "terms": terms,
            "types": [[name, self._types[name][0]] for name in type_names], "entities": list(self._entities)}
        return header, arrays

    def _finders(self) -> dict[str, NDArray[Any]]:
        """Entity → operations that find it, and how directly."""
        rows: list[list[int]] = [[] for _ in self._entities]
        weights: list[list[float]] = [[] for _ in self._entities]
        for number, finds in enumerate(self._finds):
            for entity, weight in finds.items():
                rows[self._entities[entity]].append(number)
                weights[self._entities[entity]].append(weight)
        return {**_ragged("finders", rows), **_ragged("finder_weights", weights, np.float32)}

    def _index_types(self) -> tuple[list[str], list[list[int]]]:
        """Names of the types, and for each the types that refer to it."""
        names = list(self._types)
        number = {name: index for index, name in enumerate(names)}
        parents: list[list[int]] = [[] for _ in names]
        for index, name in enumerate(names):
            for target in set(references(self._types[name][1].get(name))):
                if target in number:
                    parents[number[target]].append(index)
        return names, parents


def _grams(words: Iterable[str]) -> dict[str, NDArray[Any]]:
    builder = GramBuilder()
    for word in words:
        builder.add(word)
    return builder.arrays()


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(prefix + ".")}


def _ragged(table: str, rows: Sequence[Sequence[float]], dtype: Any = np.int32) -> dict[str, NDArray[Any]]:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    values = np.fromiter((value for row in rows for value in row), dtype=dtype, count=int(offsets[-1]))
    return {f"{table}.offsets": offsets, f"{table}.values": values}


def _view(data: NDArray[np.uint8], dtype: str, offset: int, count: int) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize * count
    if offset < 0 or offset + size > len(data):
        raise ValueError("array outside the file")
    return data[offset : offset + size].view(dtype)


def _write(path: Path, header: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Header and arrays to a temporary file, then renamed into place. Array offsets count from the data's start."""
    places: dict[str, tuple[str, int, int]] = {}
    offset = 0
    for name, array in arrays.items():
        places[name] = (array.dtype.str, offset, array.size)
        offset = _aligned(offset + array.nbytes)
    body = orjson.dumps({**header, "arrays": places, "bytes": offset})
    start = _aligned(16 + len(body))
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(_MAGIC + len(body).to_bytes(8, "little") + body)
            for name, array in arrays.items():
                file.seek(start + places[name][1])
                file.write(np.ascontiguousarray(array).tobytes())
            file.truncate(start + offset)
        temporary.replace(path)
    except OSError:   # no cache, then
        with suppress(OSError):
            temporary.unlink()


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN
