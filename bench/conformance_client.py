"""The MCP conformance suite against our MCP client: `python -m bench.conformance_client [--json]`.

The suite starts this module again with the address of a server that it plays; then it is a client: the connector
opens, signs in where the server asks for it, and calls every tool once. One figure a scenario: 1 when all its
checks passed. Scenarios of extensions that are not offered (client credentials, cross-app access, elicitation)
are left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from bench.conformance_suite import Suite
from bench.report import Report, options
from inhabit.connectors.connections import OAuthConnections
from inhabit.connectors.mcp import McpConnector
from inhabit.connectors.oauth import OAuthFlows, OAuthTarget
from inhabit.contracts.connector import Call, ConnectorContext, Secret
from inhabit.contracts.principal import Principal
from inhabit.egress.broker import Broker
from inhabit.errors import InhabitError, MissingConnection
from inhabit.store.connections import ConnectionStore

SCENARIOS = (
    "initialize", "tools_call", "sse-retry", "auth/metadata-default", "auth/metadata-var1", "auth/metadata-var2", "auth/metadata-var3",
    "auth/basic-cimd", "auth/scope-from-www-authenticate", "auth/scope-from-scopes-supported", "auth/scope-omitted-when-undefined",
    "auth/scope-step-up", "auth/scope-retry-limit", "auth/token-endpoint-auth-basic", "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none", "auth/pre-registration", "auth/2025-03-26-oauth-metadata-backcompat",
    "auth/2025-03-26-oauth-endpoint-fallback", "auth/resource-mismatch", "auth/offline-access-scope", "auth/offline-access-not-supported",
)
ME = Principal("conformance")
BACK = "http://localhost:3000/callback"
DOCUMENT = "https://conformance-test.local/client-metadata.json"
MAX_SIGN_INS = 2


async def main() -> int:
    given = options(__doc__ or "")
    report = Report(given.json)
    suite = Suite("client", "--command", f"{sys.executable} -m bench.conformance_client --play")
    failed = [name for name in SCENARIOS if not await suite.passes(name, report)]
    return 1 if failed else 0


async def play(url: str) -> None:
    """Be the client of one scenario."""
    with tempfile.TemporaryDirectory() as folder:
        vault = ConnectionStore(Path(folder) / "c.db", Path(folder) / "c.key")
        flows = OAuthFlows(Broker(), vault, redirect_uri=BACK, client_document=DOCUMENT)
        connector = McpConnector("server", url=url, private_addresses=True, timeout_s=20)
        await connector.open(ConnectorContext(Broker(), OAuthConnections(vault, flows), Path(folder), _ignore, _no_secret))
        try:
            await _use(connector, flows, url)
        finally:
            await connector.close()
            vault.close()


async def _use(connector: McpConnector, flows: OAuthFlows, url: str) -> None:
    challenge = ""
    for _attempt in range(MAX_SIGN_INS + 1):
        try:
            await connector.refresh(ME)
            for operation in list(connector.operations()):
                await connector.call(Call(operation, _arguments(operation.input_schema), ME, "run", 1, "key",
                                          asyncio.get_running_loop().time() + 20, _NoBlobs()))
            return
        except MissingConnection as error:
            challenge = str(error.details.get("challenge", ""))
        await _sign_in(flows, url, challenge)


async def _sign_in(flows: OAuthFlows, url: str, challenge: str) -> None:
    known = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    secret = known.get("client_secret")
    target = OAuthTarget("server", url, private_addresses=True, client_id=known.get("client_id"),
                         client_secret=Secret(secret) if secret else None)
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(await flows.authorize_url(target, ME, challenge=challenge))
    await flows.callback(dict(parse_qsl(urlsplit(answer.headers["location"]).query)))


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: 2 if "number" in str(part) or "integer" in str(part) else "x" for name, part in schema.get("properties", {}).items()}


class _NoBlobs:
    async def put(self, data: bytes, *, tenant: str, mime: str) -> dict[str, Any]:
        return {"$binary": "0" * 64, "type": mime, "size": len(data)}

    async def get(self, reference: Mapping[str, Any], *, tenant: str) -> bytes:
        return b""


async def _ignore(_connector: Any) -> None:
    return


async def _no_secret(_name: str) -> Secret | None:
    return None


if __name__ == "__main__":
    if "--play" in sys.argv:
        try:
            asyncio.run(play(sys.argv[-1]))
        except InhabitError as error:
            sys.stderr.write(f"{type(error).__name__}: {error.message} {error.details}\n")
            sys.exit(1)
        sys.exit(0)
    sys.exit(asyncio.run(main()))
