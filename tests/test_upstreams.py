"""Real systems in one program, in both languages: three MCP servers from npm, and GitHub's own OpenAPI document
behind Prism's mock server. Nothing here is a fake of ours.

The memory server (2026.8.31) reads, changes and writes its file without a lock: sent two `create_entities` at once it
keeps one. Calls that may write take turns at a server that is started here, so the program may be written as it is meant.

The servers' own annotations are trusted, as an operator says who has looked at them: unknown effects are the dangerous
ones, and what has read private and untrusted data may write outward only when a person says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.report import npm_peer
from inhabit import Inhabit, mcp, openapi
from tests.connectors.mcp_support import NODE, npm_server

PRISM = "@stoplight/prism-cli@5.16.0"
GITHUB = "@octokit/openapi@23.0.2"

TYPESCRIPT = """
const names = ["alpha.txt", "beta.txt"];
const texts = await Promise.all(names.map(async (n) => (await files.read_text_file({ path: `${input.folder}/${n}` })).content));
const parts = Array.from({ length: 10 }, (_, i) => ({ name: `${input.prefix}-${i}-${names[i % 2]}`, entityType: "file", observations: [texts[i % 2].trim()] }));
const [said] = await Promise.all([
  everything.echo({ message: `${texts.length} files` }), ...parts.map((entity) => memory.create_entities({ entities: [entity] })),
]);
const stored = await memory.search_nodes({ query: input.prefix });
let issues = 0;
for (let page = 1; page <= 3; page++) {
  const list = await github.issues.list_for_repo({ owner: "octocat", repo: "hello-world", per_page: 1, page });
  issues += list.length;
}
return [`files: ${texts.map(t => t.trim()).join(", ")}`, `entities: ${stored.entities.length}`, said, `issues: ${issues}`, `pages: 3`];
"""

PYTHON = """
import asyncio

names = ["alpha.txt", "beta.txt"]
reads = await asyncio.gather(*[files.read_text_file(path=f"{input['folder']}/{n}") for n in names])
texts = [r["content"].strip() for r in reads]
entities = [{"name": f"{input['prefix']}-{i}-{names[i % 2]}", "entityType": "file", "observations": [texts[i % 2]]} for i in range(10)]
said, *_ = await asyncio.gather(everything.echo(message=f"{len(texts)} files"), *[memory.create_entities(entities=[e]) for e in entities])
stored = await memory.search_nodes(query=input["prefix"])
issues = 0
for page in range(1, 4):
    issues += len(await github.issues.list_for_repo(owner="octocat", repo="hello-world", per_page=1, page=page))
return [f"files: {', '.join(texts)}", f"entities: {len(stored['entities'])}", said, f"issues: {issues}", "pages: 3"]
"""


@contextlib.asynccontextmanager
async def github_mock(document: Path, prism: Path) -> AsyncIterator[str]:
    """Prism serving the document on a free port; the URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(prism), "mock", "-h", "127.0.0.1", "-p", str(port), str(document),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            while b"Prism is listening" not in (line := await process.stdout.readline()):
                assert line, "Prism ended before it listened"
        draining = asyncio.create_task(process.stdout.read())
        yield f"http://127.0.0.1:{port}"
        draining.cancel()
    finally:
        process.kill()
        await process.wait()


@pytest.mark.timeout(400)
async def test_one_program_over_four_real_systems_in_both_languages(tmp_path: Path) -> None:
    peers = await asyncio.to_thread(npm_peer, PRISM, GITHUB)
    document = peers / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "alpha.txt").write_text("first\n")
    (folder / "beta.txt").write_text("second\n")
    async with github_mock(document, peers / "@stoplight" / "prism-cli" / "dist" / "index.js") as url:
        sources = [
            mcp([*npm_server("filesystem"), str(folder)], name="files", trust_annotations=True),
            mcp(npm_server("memory"), name="memory", env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}, trust_annotations=True),
            mcp(npm_server("everything"), name="everything", trust_annotations=True),
            openapi(document, name="github", base_url=url),
        ]
        async with Inhabit(sources, home=tmp_path / "home") as app:
            assert app.problems == {}
            for language, source in (("typescript", TYPESCRIPT), ("python", PYTHON)):
                result = await app.execute(source, principal="ada", language=language,
                                           input={"folder": str(folder), "prefix": language})
                assert result.state == "completed", result.error
                assert result.value == ["files: first, second", "entities: 10", "Echo: 2 files", "issues: 3", "pages: 3"]
                assert result.calls == 17
