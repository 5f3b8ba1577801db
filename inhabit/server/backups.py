"""The route that copies the stores while they are in use: for the operator alone, who names a place on the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.errors import Denied, InvalidInput
from inhabit.server.auth import identity_of
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.requests import StrictBody, read_body
from inhabit.store.tenants.stores import size_of

__all__ = ["Backup", "BackupBody", "backup_endpoint"]

Backup = Callable[[Path, str | None], Awaitable[Path]]
"""Writes a copy of all stores to a new folder, or of one tenant's to a new file. Raises `InvalidInput` when that exists,
`NotFound`, `Unavailable`."""


class BackupBody(StrictBody):
    file: str = Field(min_length=1, max_length=4_000, description="absolute path on the server; must not exist")
    tenant: str | None = Field(default=None, max_length=128, description="this one alone, to a file; else all, to a folder")


def backup_endpoint(backup: Backup) -> Endpoint:
    async def copy(request: Request) -> Response:
        asked = await read_body(request, BackupBody)
        if not identity_of(request).operator:
            raise Denied("only the operator makes backups", fix="run `inhabit backup` on the server")
        target = Path(asked.file)
        if not target.is_absolute():
            raise InvalidInput("/file: the path must be absolute")
        made = await backup(target, asked.tenant)
        return json_response({"file": str(made), "bytes": size_of(made)}, 201)

    return Endpoint("POST", "/v1/backup", copy, "Copy the stores to a place on the server (operator)",
                    {201: "the copy is whole and on disk"}, body=BackupBody, errors=(403, 404, 413, 422, 503))
