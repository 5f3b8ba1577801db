"""One live session with a server: started, spoken over by many calls at once, and ended, by one owner task.

The SDK's contexts must be entered and left in the same task, so the owner task holds them; everyone else only
sends requests. The session is over when its read stream ends (the server died, the connection is gone); then
`over` is set and every waiting request fails at once.

What a server asks of a client (sampling, elicitation, roots) is not offered and refused by name; `refused` keeps
the last such request, so that the error of a call can say so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, cast

import anyio
from mcp import ClientSession, types
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions, DispatchContext
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from pydantic import BaseModel, ValidationError

from inhabit.connectors.mcp.http import Sender
from inhabit.connectors.mcp.stdio import Tail
from inhabit.connectors.mcp.text import one_line
from inhabit.connectors.mcp.tools import MAX_LISTING_BYTES, MAX_TOOLS, Listing, listing_bytes
from inhabit.contracts.version import VERSION

__all__ = ["Dial", "Link", "LinkFailed", "Refusal", "Unsent"]

Dial = Callable[[], AbstractAsyncContextManager[tuple[Any, Any]]]
"""Opens the transport: a context that yields the read and the write stream."""

CLOSE_WAIT_S = 10.0
MAX_PAGES = 100
NOTICE_GATHER_S = 0.05
NOTICE_PAUSE_S = 1.0
_CLIENT = types.Implementation(name="inhabit", version=VERSION)
_REFUSED = {"sampling/createMessage": "sampling (a model of ours)", "elicitation/create": "elicitation (a person's input)",
            "roots/list": "roots (our folders)"}
_PART_OF_LIST: Mapping[str, tuple[str, type[BaseModel]]] = {
    "tools/list": ("tools", types.Tool), "resources/list": ("resources", types.Resource),
    "resources/templates/list": ("resourceTemplates", types.ResourceTemplate)}

_log = logging.getLogger(__name__)


class LinkFailed(Exception):
    """The session could not be started, or is over."""


class Unsent(MCPError):
    """The session was over before the request was sent."""


class Refusal:
    """The last thing that the server asked of us and was refused, and how often that happened."""

    def __init__(self) -> None:
        self.count = 0
        self.what = ""

    def note(self, method: str) -> None:
        self.count += 1
        self.what = _REFUSED.get(method, one_line(method, 80))


class Link:
    """`changed` is awaited, in a task of its own, when the server says that its lists are other ones. `writes`: how many
    calls that may write are under way at once; whoever sends one holds it.
    """

    def __init__(self, dial: Dial, *, key: str, start_timeout_s: float, changed: Callable[[Link], Awaitable[None]],
                 tail: Tail | None = None, sender: Sender | None = None, writes: int = 1) -> None:
        self.key = key
        self.tail = tail
        self.sender = sender
        self._dial = dial
        self._start_timeout_s = start_timeout_s
        self._changed = changed
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._notices: asyncio.Task[None] | None = None
        self._noticed = False
        self._refused_tools: list[tuple[str, str]] = []
        self.over = asyncio.Event()
        self.refused = Refusal()
        self.listed = asyncio.Lock()
        self.listing: Listing | None = None
        self.used_at = self.started_at = time.monotonic()
        self.in_flight = 0
        self.writes = asyncio.Semaphore(writes)
        self._owner = asyncio.create_task(self._own(), name="mcp link")

    @property
    def alive(self) -> bool:
        return not self.over.is_set() and not self._stop.is_set() and (self.tail is None or self.tail.running())

    async def session(self) -> ClientSession:
        """The session, once started. Raises `LinkFailed`."""
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """End the session and its server; idempotent, bounded."""
        self._stop.set()
        if self._notices is not None:
            self._notices.cancel()
        if not self._ready.done():
            self._owner.cancel()
        done, _ = await asyncio.wait({self._owner}, timeout=CLOSE_WAIT_S)
        if not done:
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=CLOSE_WAIT_S)

    def last_words(self) -> str:
        """What is known of a server's end, for an error message."""
        if self.tail is None:
            return ""
        code = f" (exit code {self.tail.exit_code})" if self.tail.exit_code is not None else ""
        words = one_line(self.tail.text(), 500)
        return code + (f"; it said last: {words}" if words else "")

    async def list_all(self) -> Listing:
        """Everything the server offers. Raises `MCPError`, `LinkFailed`, `ValidationError`."""
        session = await self.session()
        can = session.server_capabilities or types.ServerCapabilities()
        self._refused_tools = []
        tools = await self._pages(session) if can.tools is not None else []
        info = session.server_info
        server = one_line(f"{info.name} {info.version}", 120) if info is not None else ""
        resources = can.resources is not None and await self._has_resources(session)
        return Listing(tuple(tools), resources, server, one_line(session.instructions, 4_000),
                       tuple(self._refused_tools))

    async def _has_resources(self, session: ClientSession) -> bool:
        """Many servers announce resources and have none: three operations that lead nowhere are left out then."""
        try:
            if (await session.list_resources()).resources:
                return True
            return bool((await session.list_resource_templates()).resource_templates)
        except MCPError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                raise
            return False

    async def _pages(self, session: ClientSession) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        size = 0
        for _page in range(MAX_PAGES):
            answer = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            page = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in answer.tools]
            size += listing_bytes(page)
            if size > MAX_LISTING_BYTES:
                self._refused_tools.append(("tools/list", f"the list exceeds {MAX_LISTING_BYTES} bytes; the rest is left out"))
                return tools
            tools.extend(page)
            cursor = answer.next_cursor
            if not cursor or len(tools) > MAX_TOOLS:
                return tools
        self._refused_tools.append(("tools/list", f"the list has more than {MAX_PAGES} pages; the rest is left out"))
        return tools

    async def _own(self) -> None:
        try:
            async with self._dial() as (read, write), self._session(read, write) as session:
                self._ready.set_result(session)
                await self._stop.wait()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._stop.set()
            self.over.set()

    @asynccontextmanager
    async def _session(self, read: Any, write: Any) -> AsyncGenerator[ClientSession]:
        wire = _Wire(read, write, self.refused, self._drop, self._ended)
        async with ClientSession(dispatcher=wire, message_handler=self._notified, client_info=_CLIENT) as session:
            with anyio.fail_after(self._start_timeout_s):
                await _negotiate(session)
            watcher = asyncio.create_task(self._listen(session))
            try:
                yield session
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    async def _listen(self, session: ClientSession) -> None:
        """Newer servers send their change notices over a subscription only."""
        with suppress(ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError):
            async with listen(session, tools_list_changed=True, resources_list_changed=True) as events:
                async for _event in events:
                    self._notice()

    async def _notified(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, types.ToolListChangedNotification | types.ResourceListChangedNotification):
            self._notice()

    def _notice(self) -> None:
        self._noticed = True
        if (self._notices is None or self._notices.done()) and self.alive:
            self._notices = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """One re-listing at a time, at a bounded rate: a server that adds ten tools sends ten notices."""
        pause = NOTICE_GATHER_S
        while self._noticed and self.alive:
            await asyncio.sleep(pause)
            self._noticed = False
            await self._changed(self)
            pause = NOTICE_PAUSE_S

    def _ended(self) -> None:
        self.over.set()
        self._stop.set()

    def _drop(self, where: str, why: str) -> None:
        self._refused_tools.append((where, why))

    def _fail(self, error: BaseException) -> None:
        reason = _innermost(error)
        if not self._ready.done():
            text = (f"it did not answer within {self._start_timeout_s:g} s of its start" if isinstance(reason, TimeoutError)
                    else one_line(str(reason)) or type(reason).__name__)
            behind = self.sender.fault_of(reason) if self.sender is not None and isinstance(reason, MCPError) else None
            failure = LinkFailed(text + self.last_words())
            failure.__cause__ = behind or reason
            self._ready.set_exception(failure)
            self._ready.exception()     # someone may have stopped waiting: not an error of its own
        elif not isinstance(reason, asyncio.CancelledError):
            _log.info("a session with an MCP server ended: %s", one_line(str(reason)))


class _Wire(JSONRPCDispatcher[TransportContext]):
    """The SDK's dispatcher, with eyes: notes refused requests, the end of the stream, and unusable list entries."""

    def __init__(self, read: Any, write: Any, refused: Refusal, drop: Callable[[str, str], None], ended: Callable[[], None]) -> None:
        super().__init__(read, write)
        self._refused = refused
        self._drop = drop
        self._ended = ended
        self._over = False

    async def run(self, on_request: Any, *rest: Any, **named: Any) -> None:
        async def seen(context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
            if method in _REFUSED:
                self._refused.note(method)
                raise MCPError(types.INVALID_REQUEST, f"{method} is refused: this client does not offer {_REFUSED[method]}")
            return await on_request(context, method, params)

        try:
            await super().run(seen, *rest, **named)
        finally:
            self._end()

    def _end(self) -> None:
        self._over = True
        self._ended()

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None,
                               **named: Any) -> dict[str, Any]:
        """One unusable entry must not cost the whole list: the SDK would refuse the answer as a whole."""
        if self._over:
            raise Unsent(types.CONNECTION_CLOSED, "Connection closed")
        try:
            answer = await super().send_raw_request(method, params, opts, **named)
        except MCPError as error:
            if error.error.code == types.CONNECTION_CLOSED and self._closed:
                self._end()
            raise
        if method not in _PART_OF_LIST:
            return answer
        key, model = _PART_OF_LIST[method]
        entries = answer.get(key)
        if not isinstance(entries, list):
            return answer
        return {**answer, key: [entry for entry in cast("list[Any]", entries) if self._usable(method, entry, model)]}

    def _usable(self, method: str, entry: Any, model: type[BaseModel]) -> bool:
        try:
            model.model_validate(entry, by_name=False)
        except ValidationError as error:
            name = cast("dict[str, Any]", entry).get("name") if isinstance(entry, dict) else None
            first = error.errors(include_url=False, include_input=False)[0]
            place = "/".join(map(str, first["loc"]))
            self._drop(one_line(str(name or method), 120), one_line(f"not a valid entry: {place}: {first['msg']}", 200))
            return False
        return True


async def _negotiate(session: ClientSession) -> None:
    """The handshake that every server of today knows; the newer discovery where a server says it left it behind.

    In this order because some servers stop at any message before `initialize`.
    """
    try:
        await session.initialize()
    except MCPError as error:
        if error.code not in (types.UNSUPPORTED_PROTOCOL_VERSION, types.METHOD_NOT_FOUND):
            raise
        await session.discover()


def _innermost(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return _innermost(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error
