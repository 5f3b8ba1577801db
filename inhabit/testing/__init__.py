"""Helpers for the tests of a product that uses Inhabit.

    from inhabit.testing import ScriptedModel, running

    async def test_my_capabilities():
        async with running(orders) as app:
            result = await app.execute("return await shop.orders.list({})", principal="ada")
            assert result.state == "completed"

`running` gives a real app (real engine, worker, journal) in a folder that is removed afterwards. `ScriptedModel` plays
a model: fixed tool calls, no provider. `calls_of` reads what a run did from its journal.
"""

from inhabit.testing.apps import calls_of, running
from inhabit.testing.model import Exchange, ScriptedModel

__all__ = ["Exchange", "ScriptedModel", "calls_of", "running"]
