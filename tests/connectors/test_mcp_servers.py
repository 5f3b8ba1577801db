"""Real servers from npm, through the connector: what a user has on the first day."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from inhabit.connectors.mcp import McpConnector, SecretName
from inhabit.contracts.effects import UNKNOWN_EFFECTS
from inhabit.egress.broker import Broker
from inhabit.errors import CallTimeout, UpstreamError
from tests.connectors.mcp_support import ADA, Host, npm_server


@pytest.fixture
async def everything(tmp_path: Path):
    host = Host(tmp_path / "cache", secrets={"TOKEN": "s3cret-value"})
    connector = McpConnector("everything", command=npm_server("everything"), env={"PLAIN": "yes", "API_TOKEN": SecretName("TOKEN")})
    await connector.open(host.context)
    yield host, connector
    await connector.close()


async def test_everything_in_all_its_forms(everything) -> None:
    host, connector = everything
    assert connector.problems() == ()
    names = {operation.name for operation in connector.operations()}
    assert {"everything.echo", "everything.get_sum", "everything.resources.list", "everything.resources.read"} <= names
    assert await host.call(connector, "echo", {"message": "hello"}) == "Echo: hello"

    structured = connector.operation("everything.get_structured_content")
    assert structured.output_schema["properties"].keys() == {"temperature", "conditions", "humidity"}
    assert (await host.call(connector, "get_structured_content", {"location": "Chicago"})).keys() == {"temperature", "conditions", "humidity"}

    words, image, after = await host.call(connector, "get_tiny_image")
    assert isinstance(words, str) and isinstance(after, str) and image["type"] == "image/png"
    assert (await host.blobs.get(image, tenant=ADA.tenant)).startswith(b"\x89PNG")

    listed = await host.call(connector, "resources.list")
    read = await host.call(connector, "resources.read", {"uri": listed[0]["uri"]})
    assert read[0]["uri"] == listed[0]["uri"] and read[0]["text"]
    assert any("{resourceId}" in item["uri_template"] for item in await host.call(connector, "resources.templates"))
    [blob] = await host.call(connector, "resources.read", {"uri": "demo://resource/dynamic/blob/1"})
    assert await host.blobs.get(blob["data"], tenant=ADA.tenant)


async def test_only_the_declared_environment_reaches_a_local_server(everything, monkeypatch: pytest.MonkeyPatch) -> None:
    host, connector = everything
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the host")
    seen = await host.call(connector, "get_env")
    assert '"PLAIN": "yes"' in seen and '"API_TOKEN": "s3cret-value"' in seen and "AWS" not in seen


async def test_progress_arrives_while_the_call_runs(everything) -> None:
    host, connector = everything
    heard: list[str] = []
    await host.call(connector, "trigger_long_running_operation", {"duration": 0.3, "steps": 3}, progress=heard.append)
    assert [line.split()[0] for line in heard] == ["1/3", "2/3", "3/3"]


async def test_calls_share_one_session_at_once(everything) -> None:
    host, connector = everything
    slow = asyncio.create_task(host.call(connector, "trigger_long_running_operation", {"duration": 1, "steps": 1}))
    answers = await asyncio.gather(*(host.call(connector, "get_sum", {"a": n, "b": 1}) for n in range(50)))
    assert answers[41] == "The sum of 41 and 1 is 42." and not slow.done()
    assert "completed" in await slow


async def test_unknown_effects_until_someone_says_otherwise(everything) -> None:
    _host, connector = everything
    assert connector.operation("everything.echo").effects == UNKNOWN_EFFECTS


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """SIGKILL of the real server: its call fails with a name, the next one works."""
    host = Host(tmp_path / "cache")
    connector = McpConnector("memory", command=npm_server("memory"), env={"MEMORY_FILE_PATH": str(tmp_path / "graph.json")})
    await connector.open(host.context)
    entity = {"name": "Inhabit", "entityType": "project", "observations": ["runs sealed"]}
    created = await host.call(connector, "create_entities", {"entities": [entity]})
    assert created == {"entities": [entity]}

    [pid] = _children_running("server-memory")
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(_gone(pid), 5)
    graph = await host.call(connector, "read_graph")
    assert graph["entities"] == [entity]
    assert _children_running("server-memory") != [pid]
    await connector.close()
    assert _children_running("server-memory") == []


async def test_filesystem_answers_and_refuses_by_its_own_rules(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "note.txt").write_text("remember the milk")
    host = Host(tmp_path / "cache")
    connector = McpConnector("files", command=[*npm_server("filesystem"), str(allowed)], trust_annotations=True)
    await connector.open(host.context)
    read = await host.call(connector, "read_text_file", {"path": str(allowed / "note.txt")})
    assert read == {"content": "remember the milk"}
    with pytest.raises(UpstreamError, match="outside allowed directories"):
        await host.call(connector, "read_text_file", {"path": "/etc/hostname"})
    effects = {o.function: o.effects for o in connector.operations()}
    assert not effects["read_text_file"].may_write and effects["write_file"].irreversible
    await connector.close()


async def test_everything_over_streamable_http(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        *npm_server("everything"), "streamableHttp", env={**os.environ, "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            while b"listening" not in await server.stderr.readline():
                pass
        host = Host(tmp_path / "cache", outbound=Broker())
        connector = McpConnector("everything", url=f"http://127.0.0.1:{port}/mcp", private_addresses=True)
        await connector.open(host.context)
        heard: list[str] = []
        slow = asyncio.create_task(host.call(connector, "trigger_long_running_operation", {"duration": 0.5, "steps": 2}, progress=heard.append))
        answers = await asyncio.gather(*(host.call(connector, "get_sum", {"a": n, "b": 1}) for n in range(30)))
        assert answers[9] == "The sum of 9 and 1 is 10."
        assert "completed" in await slow and [line.split()[0] for line in heard] == ["1/2", "2/2"]
        with pytest.raises(CallTimeout):
            await host.call(connector, "trigger_long_running_operation", {"duration": 30, "steps": 1}, seconds=0.3)
        assert await host.call(connector, "echo", {"message": "still"}) == "Echo: still"
        await connector.close()
    finally:
        server.kill()
        await server.wait()


def _children_running(words: str) -> list[int]:
    """Processes of ours whose command line carries `words`."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and words in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


async def _gone(pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        await asyncio.sleep(0.01)
