"""What clients may send, as strict models: an unknown field or query parameter is an error that names the nearest."""

from __future__ import annotations

import difflib
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from inhabit.contracts.run import RunKind, RunState
from inhabit.errors import InhabitError, InvalidInput
from inhabit.wire.values import decode_value

__all__ = [
    "MAX_NUMBER",
    "MAX_WAIT_S",
    "ApplyBody", "ApprovalQuery", "ApprovalsQuery",
    "EntriesQuery",
    "EventsQuery",
    "ListQuery",
    "NoQuery",
    "RollbackBody",
    "RunBody",
    "SearchBody", "StrictBody",
    "WaitQuery",
    "read_body",
    "read_query",
    "validated",
]

MAX_WAIT_S = 600.0
"""The longest that one request or tool call waits for a run; then it is asked again."""
MAX_NUMBER = 2**53
"""An entry's number is below; a greater one is no number that JSON can carry."""


class _Query(BaseModel):
    """Text from a URL: numbers are read from it."""

    model_config = ConfigDict(extra="forbid")


class StrictBody(BaseModel):
    """JSON has types already, so none is turned into another."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RunBody(StrictBody):
    """A program to run. `on_disconnect`: what becomes of the run when this client goes away while it waits."""

    program: str = Field(description="TypeScript or Python source")
    language: Literal["typescript", "javascript", "python"] | None = Field(None, description="guessed when left out")
    input: Any = Field(None, description="any JSON; the program reads it as `input`")
    limits: dict[str, int | float] | None = Field(None, description="narrower limits for this run")
    wait_s: float = Field(30.0, ge=0, le=MAX_WAIT_S, description="seconds to wait for the end", allow_inf_nan=False)
    mode: Literal["live", "plan"] = Field("live", description="plan: reads run, writes are held and shown as one change set")
    on_disconnect: Literal["finish", "cancel"] = "finish"
    conversation: str | None = Field(None, min_length=1, max_length=100,
                                     description="a name for what the program's author, a model, keeps in mind from run to run")
    closed: bool = Field(False, description="the author has read no stranger's words but in this conversation; only with a token made to vouch")


class RollbackBody(StrictBody):
    wait_s: float = Field(30.0, ge=0, le=MAX_WAIT_S, description="seconds to wait for the end", allow_inf_nan=False)


class ApplyBody(StrictBody):
    hash: str = Field(max_length=64, description="of the change set that you were shown")
    wait_s: float = Field(30.0, ge=0, le=MAX_WAIT_S, description="seconds to wait for the end", allow_inf_nan=False)


class SearchBody(StrictBody):
    query: str = Field(max_length=2_000)
    language: Literal["typescript", "javascript", "python"] = "typescript"
    budget_tokens: int = Field(1_500, ge=100, le=20_000)


class NoQuery(_Query):
    pass


class WaitQuery(_Query):
    wait_s: float = Field(0.0, ge=0, le=MAX_WAIT_S, allow_inf_nan=False, description="seconds to wait for the end")


class ListQuery(_Query):
    state: RunState | None = None
    kind: RunKind | None = Field(None, description="`recheck`: reads again what a plan read, before it is applied")
    before: str | None = Field(None, max_length=100, description="the last run of the page before")
    limit: int = Field(50, ge=1, le=200)


class EntriesQuery(_Query):
    after: int = Field(0, ge=0, lt=MAX_NUMBER, description="entries with a greater number")
    limit: int = Field(200, ge=1, le=1_000)


class ApprovalsQuery(_Query):
    limit: int = Field(100, ge=1, le=500)


class ApprovalQuery(_Query):
    whole: bool = Field(False, description="all of the arguments, however long")


class EventsQuery(_Query):
    after: int = Field(0, ge=0, lt=MAX_NUMBER, description="entries with a greater number; the Last-Event-ID header wins")


Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The JSON body. Raises `InvalidInput` for bad or too deep JSON or a wrong shape, 415 for another content type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"the body must be application/json, not {kind[:60] or 'nothing'}")
    try:
        value = decode_value(await request.body())
    except InhabitError as error:
        raise InvalidInput(f"the body is not JSON that can be read: {error.message}") from None
    return validated(model, value)


def read_query(request: Request, model: type[Model]) -> Model:
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidInput("a query parameter was given twice")
    return validated(model, dict(pairs))


def validated(model: type[Model], value: object) -> Model:
    """`value` as the model. Raises `InvalidInput` with every problem's JSON pointer in `details`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [_problem(model, item["type"], item["loc"], item["msg"]) for item in error.errors(
            include_url=False, include_context=False, include_input=False)[:20]]
        first = problems[0]
        raise InvalidInput(f"{first['pointer']}: {first['message']}", details={"problems": problems},
                           fix=first.get("fix")) from None


def _problem(model: type[BaseModel], kind: str, path: tuple[int | str, ...], message: str) -> dict[str, str]:
    found = {"pointer": "/" + "/".join(str(part)[:100] for part in path), "message": message}
    if kind == "extra_forbidden":
        names = list(model.model_fields)
        nearest = difflib.get_close_matches(str(path[0]), names, 1)
        found["message"] = "unknown name"
        found["fix"] = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(names) or 'none'}"
    return found
