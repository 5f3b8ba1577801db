"""Questions to the person at an MCP client that can ask them, instead of a list that they look at elsewhere.

The client is the agent's: nothing proves that a person answered. So the answer counts as the client's own user's, is
recorded as unprotected, and is only taken where people may approve for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import NoBackChannelError

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked
from inhabit.errors import NotFound
from inhabit.runtime.approvals import AlreadyDecided, Approver, Desk
from inhabit.runtime.service import Caller
from inhabit.server.showing import shown_call

__all__ = ["ask_there"]

MAX_ASKED = 5
"""Questions one after the other in one call; the rest wait in the list."""
_FORM: dict[str, Any] = {
    "type": "object", "required": ["approve"],
    "properties": {"approve": {"type": "boolean", "title": "Approve this call"},
                   "reason": {"type": "string", "title": "Reason", "maxLength": 2_000}}}


async def ask_there(ctx: ServerRequestContext[Any, Any], desk: Desk, caller: Caller, waiting: Sequence[Asked]) -> bool:
    """Whether anything was answered. A client that cannot ask, a person who says neither, a call too long to show: it waits on."""
    if not ctx.session.check_client_capability(types.ClientCapabilities(elicitation=types.ElicitationCapability())):
        return False
    person = Approver(Principal(caller.principal.user, caller.principal.tenant), "elicitation")
    if await desk.needs_passkey(person.principal):
        return False
    answered = False
    for asked in waiting[:MAX_ASKED]:
        try:
            answered |= await _ask(ctx, desk, person, asked)
        except (AlreadyDecided, NotFound):
            answered = True
        except NoBackChannelError:
            return answered
    return answered


async def _ask(ctx: ServerRequestContext[Any, Any], desk: Desk, person: Approver, asked: Asked) -> bool:
    approval = await desk.find(asked.approval, tenant=person.principal.tenant)
    if asked.doubt:   # somebody has to look there first: it waits in the list
        return False
    call = shown_call((await desk.intent(approval)).arguments)
    if call.truncated:
        return False
    text = "\n".join([f"{asked.operation} needs your approval: {asked.reason}", call.text, *(f"Careful: {w}" for w in call.warnings)])
    result = await ctx.session.elicit_form(text, _FORM, related_request_id=ctx.request_id)
    content = result.content or {}
    if result.action == "cancel" or (result.action == "accept" and not isinstance(content.get("approve"), bool)):
        return False
    yes = result.action == "accept" and content["approve"] is True
    await desk.decide(asked.approval, "approve" if yes else "reject", person, digest=asked.digest, reason=str(content.get("reason") or "")[:2_000])
    return True
