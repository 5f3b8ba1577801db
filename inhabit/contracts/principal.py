"""For whom a program runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inhabit.errors import InvalidInput

__all__ = ["Principal"]

_PART = re.compile(r"[A-Za-z0-9_.@+-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Principal:
    """`tenant/user[/agent]`. Raises `InvalidInput` for a part that is empty, too long or has other characters."""

    user: str
    tenant: str = "default"
    agent: str | None = None

    def __post_init__(self) -> None:
        for part in (self.tenant, self.user, *((self.agent,) if self.agent is not None else ())):
            if not _PART.match(part) or part in {".", ".."}:
                raise InvalidInput(f"principal part {part!r} is not allowed", fix="1-128 of A-Z a-z 0-9 _ . @ + -")

    @classmethod
    def parse(cls, text: str | Principal) -> Principal:
        """`"ada"`, `"acme/ada"` or `"acme/ada/helper"`."""
        if isinstance(text, Principal):
            return text
        parts = text.split("/")
        match parts:
            case [user]:
                return cls(user)
            case [tenant, user]:
                return cls(user, tenant)
            case [tenant, user, agent]:
                return cls(user, tenant, agent)
            case _:
                raise InvalidInput(f"principal {text!r} has {len(parts)} parts", fix="user, tenant/user or tenant/user/agent")

    def __str__(self) -> str:
        return "/".join(p for p in (self.tenant, self.user, self.agent) if p)
