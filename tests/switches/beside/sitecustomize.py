"""Switches the control off in a Python process that a case starts (`Control.beside`)."""

import os
from pathlib import Path

if name := os.environ.get("SWITCHED_OFF"):
    from tests.switches.plugin import switch_off

    switch_off(name, Path(os.environ["SWITCH_REPORT"]))
