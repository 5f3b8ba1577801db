"""The desk where people answer: what waits, and one answer to each.

An answer counts once: it is checked against the question's record in one synchronous step with its own recording, so
two people who press at the same time get one decision and one "already decided". It is acknowledged when it is on
disk. Who may answer is for the door to say, by the credential that it has seen; a program never holds one, since a
program's principal is not an approver.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Approval, Decided, Intent, Verdict
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound
from inhabit.limits import MAX_JSON_DEPTH
from inhabit.runtime.bodies import canonical
from inhabit.runtime.doubts import Doubts
from inhabit.runtime.schemas import Validators
from inhabit.runtime.service import Runtime
from inhabit.wire.values import decode_value, encode_value

__all__ = ["AlreadyDecided", "Approver", "Desk", "Questions", "Shown"]

MAX_REASON_CHARS = 2_000
_log = logging.getLogger(__name__)
_APPROVING = ("approve", "reject")
_SETTLING = ("happened", "not_done", "give_up")


class AlreadyDecided(InhabitError):
    """Somebody answered before, the time is over, or the run has ended; nothing changes."""

    code = "already_decided"
    status = 409


async def _nobody(_: Principal) -> bool:
    return False


class Questions(Protocol):
    """The index of questions (`store.Approvals`)."""

    async def pending(self, *, tenant: str, limit: int = 100) -> Sequence[Approval]: ...

    async def find(self, approval: str, *, tenant: str) -> Approval | None: ...

    async def due(self, now_ms: int) -> Sequence[Approval]: ...


class Approver(NamedTuple):
    """A person, and how they proved that they are not the program: `operator`, `token`, `elicitation`, `passkey N`. `protected` is
    whether an agent could not have used that credential; where it could, the record says so.
    """

    principal: Principal
    credential: str
    protected: bool = False
    passkey: bool = False

    @property
    def recorded(self) -> str:
        return self.credential if self.protected else f"{self.credential}, unprotected"


class Shown(NamedTuple):
    """A question with the call that it is about."""

    approval: Approval
    intent: Intent


class Desk:
    """One for a server. `own`: people may answer what their own programs ask, which is what a start for oneself means; else
    it takes another person. `needs_passkey`: whose answer counts only when a passkey signed it, whatever else they hold.
    """

    def __init__(self, runtime: Runtime, questions: Questions, *, own: bool = False,
                 needs_passkey: Callable[[Principal], Awaitable[bool]] | None = None) -> None:
        self.needs_passkey = needs_passkey or _nobody
        self._runtime = runtime
        self._questions = questions
        self._answered: set[str] = set()
        self._validators = Validators()
        self.own = own

    async def pending(self, approver: Approver, limit: int = 100) -> Sequence[Approval]:
        """What waits in the approver's tenant, oldest first."""
        return await self._questions.pending(tenant=approver.principal.tenant, limit=limit)

    async def find(self, approval_id: str, *, tenant: str) -> Approval:
        """Raises `NotFound`, for another tenant's too."""
        approval = await self._questions.find(approval_id, tenant=tenant)
        if approval is None:
            raise NotFound(f"there is no approval {approval_id[:100]}", fix="`inhabit approvals` lists what waits")
        return approval

    async def shown(self, approvals: Sequence[Approval]) -> Sequence[Shown]:
        """Each with its call as it would be made; a run's record is read once."""
        found: dict[tuple[str, int], Intent] = {}
        for run_id, tenant in dict.fromkeys((approval.run_id, approval.principal.tenant) for approval in approvals):
            record = await self._runtime.parts.journal.read(run_id, tenant=tenant)
            found |= {(run_id, e.entry.sequence): e.entry for e in record.entries if isinstance(e.entry, Intent)}
            found |= {(run_id, sequence): made for sequence, made in Doubts.of(record.entries).open.items()}
        return [Shown(approval, found[approval.run_id, approval.asked.sequence]) for approval in approvals]

    async def intent(self, approval: Approval) -> Intent:
        """The call as it would be made."""
        return (await self.shown([approval]))[0].intent

    async def decide(self, approval_id: str, verdict: Verdict, by: Approver, *, digest: str | None = None,
                     arguments: bytes | None = None, reason: str = "", value: Any = None) -> Decided:
        """Answer a question, for good once this returns. `digest`: what the person was shown; another one is refused.
        `arguments`: the edited call, which is decided anew. `value`: what a call that has `happened` answered. Raises
        `NotFound`, `AlreadyDecided`, `Denied`, `InvalidInput`.
        """
        if by.principal.agent is not None:
            raise Denied("an agent cannot answer for a person", fix="sign in as the person who decides")
        if not by.passkey and await self.needs_passkey(by.principal):
            raise Denied(f"{by.principal} answers with a passkey", code="passkey_needed",
                         fix="open /people/approvals of this server in a browser and answer there")
        if len(reason) > MAX_REASON_CHARS:
            raise InvalidInput(f"a reason has at most {MAX_REASON_CHARS} characters")
        approval = await self.find(approval_id, tenant=by.principal.tenant)
        if not self.own and by.principal.user == approval.principal.user:
            raise Denied("nobody approves what their own program asks for", code="own_request",
                         fix="another person of the tenant answers, with a token made by `inhabit token create --approver`")
        if digest is not None and digest != approval.asked.digest:
            raise AlreadyDecided("what you were shown is not what waits now", fix="look at it again")
        if approval.asked.sequence == 0 and arguments is not None:
            raise InvalidInput("a change set is approved as it is", fix="reject it, and plan again with another program")
        fitting = _SETTLING if approval.asked.doubt else _APPROVING
        if verdict not in fitting:
            raise InvalidInput(f"this question is answered by {', '.join(fitting)}, not by {verdict}", code="verdict_unfit",
                               fix="`inhabit settle` answers a doubt, `inhabit approve` and `inhabit reject` a call that is to be made")
        if verdict == "happened":
            arguments = self._result(approval.asked.operation, value)
        elif verdict == "approve" and arguments is not None and approval.verdict is None:
            self._edit_fits(approval.asked.operation, arguments)
        now_ms = self._runtime.parts.now_ms()
        late = now_ms >= approval.asked.expires_ms
        decided = Decided(
            approval_id, approval.asked.sequence, "expire" if late else verdict, str(by.principal), by.recorded, reason, now_ms,
            canonical(arguments) if arguments is not None and not late else None)
        await self._record(approval, decided)
        if late:
            raise AlreadyDecided("the time to answer is over", fix="run the program again")
        return decided

    def _result(self, name: str, value: Any) -> bytes:
        """What a person says the call answered. Raises `InvalidInput` for what the operation could not have."""
        body, operation = encode_value(value), self._runtime.parts.directory.operation(name)
        try:
            if operation is not None:
                self._validators.result(operation, value, len(body))
        except InhabitError as error:
            raise InvalidInput(f"the result does not fit: {error.message}", code="result_unfit", details=error.details,
                               fix=f"give the result of {name} as it was, as JSON") from None
        return body

    def _edit_fits(self, name: str, arguments: bytes) -> None:
        """Before the one answer that there is has been given: a slip of the pen would end the run. What a handle holds is not known
        here, and the bridge looks at every call anyway. Raises `InvalidInput`.
        """
        operation = self._runtime.parts.directory.operation(name)
        if operation is None or b'"$handle"' in arguments:
            return
        try:
            value = decode_value(arguments, max_depth=MAX_JSON_DEPTH)
            if not is_object(value):
                raise InvalidInput(f"{name} takes one object of named arguments")
            self._validators.arguments(operation, value)
        except InhabitError as error:
            raise InvalidInput(f"the edited call does not fit, and nothing is answered: {error.message}", code="edit_unfit",
                               details=error.details, fix=f"give all arguments of {name}, as one JSON object") from None

    async def expire(self) -> int:
        """Answer every question whose time is over. Returns how many. A person's answer that comes at the same moment wins, and
        one tenant's journal that takes none is no reason to leave the questions of the others open."""
        now_ms = self._runtime.parts.now_ms()
        answered = 0
        for approval in await self._questions.due(now_ms):
            try:
                await self._record(approval, Decided(approval.asked.approval, approval.asked.sequence, "expire", "", "clock", "", now_ms))
                answered += 1
            except AlreadyDecided:
                continue
            except InhabitError as error:
                _log.warning("approval %s is over and could not be closed: %s", approval.asked.approval, error)
        return answered

    async def _record(self, approval: Approval, decided: Decided) -> None:
        """One answer a question: the check and the recording are one step."""
        if approval.verdict is not None or approval.asked.approval in self._answered:
            raise AlreadyDecided(f"{approval.asked.approval} is already decided ({approval.verdict or 'just now'})")
        self._answered.add(approval.asked.approval)
        try:
            # Looked up once more now that nobody else can answer: what was found before may be older than another's answer.
            now = await self._questions.find(approval.asked.approval, tenant=approval.principal.tenant)
            if now is None or now.verdict is not None:
                raise AlreadyDecided(f"{approval.asked.approval} is already decided ({now.verdict if now is not None else 'its run is gone'})")
            run = await self._runtime.parts.journal.summary(approval.run_id, tenant=approval.principal.tenant)
            if run.ended_ms is not None:
                raise AlreadyDecided(f"run {run.run_id} has ended ({run.state})")
            await self._runtime.decide(run, decided).durable()
        finally:
            self._answered.discard(approval.asked.approval)
