"""The shop in Inhabit: `inhabit serve` with `[python.shop] module = "examples.shop.app:capabilities"`, or `build()`."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

from examples.shop.capabilities import shop
from examples.shop.database import Database
from examples.shop.seed import seed
from inhabit import Capability, Inhabit

PROGRAMS = Path(__file__).parent / "programs"
"""The three demo programs, in the order in which they are run."""
POLICY = Path(__file__).parent / "policy.toml"
"""What the shop asks a person about, and how much it gives back in a day."""


def open_shop(path: Path | str, today: date | None = None) -> Database:
    """The shop's database at `path`, seeded when it is new."""
    database = Database(path)
    if database.is_new:
        seed(database, today or date.today())
    return database


def capabilities() -> list[Capability]:
    """The shop on the file that `SHOP_DB` names (`shop.db` when unset)."""
    return shop(open_shop(os.environ.get("SHOP_DB", "shop.db")))


def build(home: Path, today: date | None = None, policy: Path | None = None) -> Inhabit:
    """An app with the shop on `home/shop.db`."""
    home.mkdir(parents=True, exist_ok=True)
    return Inhabit(capabilities=shop(open_shop(home / "shop.db", today)), home=home, name="shop", policy=policy)
