"""All controls by name, and the ids that no switch turns red, with the reason."""

from __future__ import annotations

from tests.attacks.ids import WAITS
from tests.switches import authority, flow, outbound, programs, runs, stores
from tests.switches.off import Control

__all__ = ["CONTROLS", "STRUCTURAL"]

CONTROLS: dict[str, Control] = {
    **programs.CONTROLS, **outbound.CONTROLS, **authority.CONTROLS, **flow.CONTROLS, **runs.CONTROLS, **stores.CONTROLS,
}
STRUCTURAL: dict[str, str] = {
    **{one: f"waits with {part}" for one, part in WAITS.items() if one[0] in "CEF"},
}
"""Ids of the classes C, E and F that hold by what is not there, so that there is nothing to switch off."""
