"""Two users of one program reach the same upstream, each with their own credential; without one it fails by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from inhabit import Grant, Inhabit, Principal, openapi
from inhabit.config import ServerConfig

DOCUMENT = {
    "openapi": "3.0.3", "info": {"title": "who", "version": "1"}, "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "paths": {"/me": {"get": {"operationId": "me", "tags": ["users"], "responses": {"200": {
        "description": "ok", "content": {"application/json": {"schema": {"type": "object", "properties": {"length": {"type": "integer"}}}}}}}}}},
}


@asynccontextmanager
async def upstream(seen: list[str]) -> AsyncGenerator[str]:
    """An HTTP server that notes the Authorization header and answers with its length."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        given = next((line.split(":", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("authorization:")), "")
        seen.append(given)
        body = json.dumps({"length": len(given)}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_each_user_calls_with_their_own_credential(tmp_path: Path) -> None:
    document = tmp_path / "who.json"
    document.write_text(json.dumps(DOCUMENT))
    seen: list[str] = []
    program = "const m = await who.users.me({}); return m.length"
    async with upstream(seen) as url, Inhabit([openapi(document, base_url=url)], home=tmp_path / "home") as app:
        assert app.problems == {}
        for user in ("ada", "bob"):
            await app.home.connections.connect_key("who", Principal(user), {"token": f"CANARY-{user}"})
        results = {user: await app.execute(program, principal=user) for user in ("ada", "bob", "eve")}
        assert seen == ["Bearer CANARY-ada", "Bearer CANARY-bob"]
        assert results["ada"].value == results["bob"].value == len("Bearer CANARY-ada")
        refused = results["eve"].error
        assert refused is not None and refused["code"] == "connection_missing" and "who" in refused["message"]
        await app.home.connections.disconnect("who", Principal("bob"))
        after = await app.execute(program, principal="bob")
        assert after.error is not None and after.error["code"] == "connection_missing" and len(seen) == 2
    kept = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert b"CANARY" not in kept


def test_E18_a_bare_user_name_is_not_that_user_in_another_tenant(tmp_path: Path) -> None:
    grants = {"ada": ["shop.**"], "acme/ada": ["crm.**"]}
    several = Inhabit([], home=tmp_path, grants=grants, server=ServerConfig.model_validate({"tenants": "several"}))
    assert several.grant_of(Principal("ada")).shows("shop.list")
    assert several.grant_of(Principal("ada", "acme")) == Grant.of("crm.**")
    assert several.grant_of(Principal("ada", "other")) == Grant.nothing()
