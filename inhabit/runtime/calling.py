"""Reaching a connector: within its deadline, and with every failure turned into an error of ours."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from inhabit.contracts.connector import Call, Connector
from inhabit.errors import CallError, CallTimeout, InhabitError
from inhabit.runtime.deadlines import Deadlines

__all__ = ["Calling"]

_log = logging.getLogger(__name__)


class Calling:
    """One for the whole server: it holds the timer that all calls share."""

    def __init__(self) -> None:
        self._deadlines = Deadlines()

    async def reach(self, connector: Connector, call: Call, loop: asyncio.AbstractEventLoop, limit_ms: int) -> Any:
        """Raises `CallTimeout` and `CallError`, which say whether something may have been written."""
        operation = call.operation
        doubt = "unknown" if operation.effects.may_write else "none"
        try:
            with self._deadlines.at(loop, call.deadline_s):
                return await connector.call(call)
        except TimeoutError:
            raise CallTimeout(f"{operation.name} did not answer within {limit_ms} ms", effect=doubt,
                              fix="it may have taken effect: read before trying again" if doubt == "unknown" else None) from None
        except InhabitError:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a stranger's code is called
            # The program learns that it failed, never how our inside looks; the operator reads the log.
            _log.exception("connector %s failed in %s (run %s)", connector.name, operation.name, call.run_id)
            raise CallError(f"{operation.name} failed inside its connector ({type(error).__name__})", effect=doubt) from None
