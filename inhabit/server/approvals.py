"""The routes where people answer: what waits, one call whole, and an answer to it.

An answer needs a credential that a program does not have: a token made for approving, or the operator's own where people
may approve for themselves. It names the digest of what was shown; a call that is shown in part has no digest, so that
nobody approves what they could not read. Who may not answer sees the questions of their own runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from inhabit.contracts.run import Approval, Intent
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound
from inhabit.runtime.approvals import MAX_REASON_CHARS, AlreadyDecided, Approver, Desk, Shown
from inhabit.runtime.service import Runtime
from inhabit.server.auth import Identity, caller_of, identity_of
from inhabit.server.ceremonies import Ceremonies
from inhabit.server.endpoints import Endpoint, json_response
from inhabit.server.passkeys import origin_of
from inhabit.server.requests import ApprovalQuery, ApprovalsQuery, StrictBody, read_body, read_query
from inhabit.server.showing import MAX_SHOWN_CHARS, oddities, shown_call

__all__ = ["AnswerBody", "ApprovalRoutes", "approver_of"]


class AnswerBody(StrictBody):
    verdict: Literal["approve", "reject", "happened", "not_done", "give_up"] = Field(
        description="the first two for a call that waits, the others for one of which nobody knows whether it took effect")
    digest: str | None = Field(None, max_length=64, description="of what you were shown; needed by all that lets the run go on with the call")
    arguments: dict[str, Any] | None = Field(None, description="the call as you edited it; it is decided anew")
    value: Any = Field(None, description="what a call that happened answered, as its operation declares it")
    reason: str = Field("", max_length=MAX_REASON_CHARS)


class SignedAnswerBody(AnswerBody):
    """An answer, and who answers with a passkey sends what it signed."""

    challenge: str | None = Field(None, max_length=64, description="the `challenge_id` that was signed")
    assertion: dict[str, Any] | None = Field(None, description="what the browser signed, as `PublicKeyCredential.toJSON()` writes it")


class ApprovalRoutes:
    """Without `ceremonies` nobody answers with a passkey."""

    def __init__(self, desk: Desk, runtime: Runtime, ceremonies: Ceremonies | None = None, public_url: str | None = None) -> None:
        self._ceremonies = ceremonies
        self._public_url = public_url
        self._desk = desk
        self._runtime = runtime

    def endpoints(self) -> tuple[Endpoint, ...]:
        one = "/v1/approvals/{approval}"
        return (
            Endpoint("GET", "/v1/approvals", self.list, "Calls that wait for a person, by operation, what is unusual first",
                     {200: "groups of questions"}, query=ApprovalsQuery, errors=(422,)),
            Endpoint("GET", one, self.look, "One question, on request with the whole call", {200: "the question"}, query=ApprovalQuery,
                     errors=(404, 422)),
            Endpoint("POST", one, self.answer, "Approve, reject, edit and approve; or say whether a call took effect", {200: "the answer, for good"}, body=SignedAnswerBody,
                     errors=(403, 404, 409, 413, 422)),
            Endpoint("POST", f"{one}/challenge", self.challenge, "What your passkey is to sign for this answer", {200: "request options and `challenge_id`"},
                     body=AnswerBody, errors=(403, 404, 409, 413, 422, 429)),
        )

    async def list(self, request: Request) -> Response:
        query = read_query(request, ApprovalsQuery)
        shown = await self._desk.shown(await self._visible(request, query.limit))
        return json_response({"groups": _groups(shown), "waiting": len(shown)})

    async def look(self, request: Request) -> Response:
        query = read_query(request, ApprovalQuery)
        identity = identity_of(request)
        approval = await self._desk.find(request.path_params["approval"], tenant=identity.principal.tenant)
        if not _may_answer(identity):
            await self._own(request, approval)
        ((_, intent),) = await self._desk.shown([approval])
        return json_response(_json(approval, intent, None if query.whole else MAX_SHOWN_CHARS))

    async def answer(self, request: Request) -> Response:
        asked = await read_body(request, SignedAnswerBody)
        by = approver_of(identity_of(request), own=self._desk.own)
        edited = _edited(asked)
        if asked.assertion is not None:
            number = await self._signing().signed(by.principal, self._said(request, asked), asked.challenge or "", asked.assertion)
            by = Approver(by.principal, f"passkey {number}", protected=True, passkey=True)
        decided = await self._desk.decide(request.path_params["approval"], asked.verdict, by, digest=asked.digest, arguments=edited,
                                          reason=asked.reason, value=asked.value)
        return json_response({"id": decided.approval, "verdict": decided.verdict, "by": decided.by, "credential": decided.credential})

    async def challenge(self, request: Request) -> Response:
        asked = await read_body(request, AnswerBody)
        by = approver_of(identity_of(request), own=self._desk.own)
        _edited(asked)
        approval = await self._desk.find(request.path_params["approval"], tenant=by.principal.tenant)
        if asked.digest not in (None, approval.asked.digest):
            raise AlreadyDecided("what you were shown is not what waits now", fix="look at it again")
        return json_response(await self._signing().challenge(by.principal, self._said(request, asked), origin_of(request, self._public_url)))

    def _said(self, request: Request, asked: AnswerBody) -> dict[str, Any]:
        """All of an answer that a signature is for."""
        return {"approval": request.path_params["approval"], "digest": asked.digest, "verdict": asked.verdict, "arguments": asked.arguments,
                "reason": asked.reason, "value": asked.value}

    def _signing(self) -> Ceremonies:
        if self._ceremonies is None:
            raise Denied("this server takes no passkeys", code="passkey_missing")
        return self._ceremonies

    async def _visible(self, request: Request, limit: int) -> Sequence[Approval]:
        identity = identity_of(request)
        waiting = await self._desk.pending(Approver(identity.principal, "looks"), limit)
        if _may_answer(identity):
            return waiting
        found: list[Approval] = []
        for approval in waiting:
            try:
                await self._own(request, approval)
            except NotFound:
                continue
            found.append(approval)
        return found

    async def _own(self, request: Request, approval: Approval) -> None:
        """Raises `NotFound` for what is of no run that the caller may see."""
        try:
            await self._runtime.visible(approval.run_id, caller_of(request))
        except InhabitError:
            raise NotFound(f"there is no approval {approval.asked.approval}", fix="`inhabit approvals` lists what waits") from None


def _edited(asked: AnswerBody) -> bytes | None:
    """The edited arguments as JSON. Raises `InvalidInput` for an answer that does not fit together."""
    if asked.verdict not in ("reject", "give_up") and asked.digest is None:
        raise InvalidInput("such an answer names the digest of what was shown", fix="GET /v1/approvals/{id}?whole=true shows all of it",
                           code="digest_missing")
    if asked.verdict != "approve" and asked.arguments is not None:
        raise InvalidInput("only an approved call can be edited", fix="leave arguments out")
    if asked.verdict != "happened" and asked.value is not None:
        raise InvalidInput("only a call that happened has a result", fix="leave value out")
    return None if asked.arguments is None else orjson.dumps(asked.arguments)


def approver_of(identity: Identity, *, own: bool) -> Approver:
    """Who answers, and how far their credential is from any program. Raises `Denied` for a token that was not made for it."""
    if identity.principal.agent is None and identity.approve and not identity.operator:
        return Approver(identity.principal, "token", protected=not own)
    if identity.principal.agent is None and identity.operator and own:
        return Approver(identity.principal, "operator")
    raise Denied("this credential cannot answer approvals", code="not_an_approver",
                 fix="use a token made by `inhabit token create --approver --for SOMEBODY`")


def _may_answer(identity: Identity) -> bool:
    return identity.principal.agent is None and (identity.approve or identity.operator)


def _groups(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    groups: dict[str, list[Shown]] = {}
    for one in shown:
        groups.setdefault(one.approval.asked.operation, []).append(one)
    return [_group(operation, held) for operation, held in groups.items()]


def _group(operation: str, held: Sequence[Shown]) -> dict[str, Any]:
    """What differs from most stands first, and says how."""
    odd = oddities([one.intent.arguments for one in held])
    approvals = [{**_json(one.approval, one.intent, MAX_SHOWN_CHARS), **({"odd": why} if why else {})}
                 for one, why in zip(held, odd, strict=True)]
    approvals.sort(key=lambda approval: "odd" not in approval)
    return {"operation": operation, "count": len(held), "odd": sum(map(bool, odd)), "approvals": approvals}


def _json(approval: Approval, intent: Intent, most: int | None) -> dict[str, Any]:
    asked, call = approval.asked, shown_call(intent.arguments, most)
    value: dict[str, Any] = {
        "id": asked.approval, "question": "did_it_happen" if asked.doubt else "may_it_happen", "run": approval.run_id,
        "sequence": asked.sequence, "principal": str(approval.principal), "operation": asked.operation,
        "rule": asked.rule, "reason": asked.reason, "asked_ms": asked.at_ms, "expires_ms": asked.expires_ms,
        "verdict": approval.verdict, "arguments": call.text, "warnings": list(call.warnings), "truncated": call.truncated}
    return value if call.truncated else {**value, "digest": asked.digest}
