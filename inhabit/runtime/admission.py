"""Who may begin one more run: the server's live runs, shared out by tenant and user.

Model: a seat is taken before anything is done for a run (so that waiting for a worker counts too) and given back at
its end. Invariants: no tenant holds more than its share, so a server that is full of one tenant's runs does not
exist; a run that was taken up after a crash has a seat without asking, since it was admitted once.
"""

from __future__ import annotations

from collections import Counter

from inhabit.contracts.principal import Principal
from inhabit.errors import TooMany, Unavailable
from inhabit.limits import LiveRuns

__all__ = ["Admission", "Seat"]


class Seat:
    """One live run's place; `leave` may be called twice."""

    def __init__(self, admission: Admission, keys: tuple[tuple[str, ...], ...]) -> None:
        self._admission = admission
        self._keys = keys

    def leave(self) -> None:
        keys, self._keys = self._keys, ()
        self._admission.give_back(keys)


class Admission:
    def __init__(self, bounds: LiveRuns) -> None:
        self._bounds = bounds
        self._taken: Counter[tuple[str, ...]] = Counter()

    @property
    def live(self) -> int:
        return self._taken[()]

    def enter(self, principal: Principal) -> Seat:
        """Raises `TooMany` for the principal's own share, `Unavailable` when the whole server is full."""
        bounds = self._bounds
        for key, limit, most in ((_user(principal), "live_runs_per_user", bounds.live_runs_per_user),
                                 (_tenant(principal), "live_runs_per_tenant", bounds.live_runs_per_tenant)):
            if self._taken[key] >= most:
                raise TooMany(f"{most} runs of {'/'.join(key)} are going on ({limit})", code="too_many_runs",
                              fix="wait for some of them to end, or cancel them",
                              details={"limit": limit, "value": most, "unit": "runs"})
        if self.live >= bounds.live_runs:
            raise Unavailable(f"{bounds.live_runs} runs are going on (live_runs)", fix="try again when some have ended",
                              details={"limit": "live_runs", "value": bounds.live_runs, "unit": "runs"})
        return self.seat(principal)

    def seat(self, principal: Principal) -> Seat:
        """A seat whatever is taken, for a run that goes on from an earlier process."""
        keys = ((), _tenant(principal), _user(principal))
        self._taken.update(keys)
        return Seat(self, keys)

    def beside(self) -> Seat:
        """For a run that is part of another's seat."""
        return Seat(self, ())

    def give_back(self, keys: tuple[tuple[str, ...], ...]) -> None:
        for key in keys:
            self._taken[key] -= 1
            if self._taken[key] <= 0:
                del self._taken[key]


def _tenant(principal: Principal) -> tuple[str, ...]:
    return (principal.tenant,)


def _user(principal: Principal) -> tuple[str, ...]:
    return (principal.tenant, principal.user)
