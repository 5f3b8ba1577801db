"""What a program may ask of its surroundings: the time, a nap, random bytes. All of it comes from the run.

The clock stands still within a turn at the time of the last delivery, for every clock there is, so that nothing
can be measured with it and a replay reads the same. Random bytes come from the seed. There is no environment, no
file and no other module; those calls get Monty's own refusal.
"""

from __future__ import annotations

import datetime
import random
from typing import Any

from pydantic_monty import OSPolicy

__all__ = ["MAX_SLEEP_MS", "Ambient"]

MAX_SLEEP_MS = 10 * 365 * 86_400_000
_MAX_RANDOM_BYTES = 1024 * 1024

Answer = dict[str, Any]


class Ambient:
    """Answers calls of the operating system for one guest."""

    def __init__(self, seed: int, clock_ms: int) -> None:
        self._random = random.Random(f"inhabit {seed}")
        self._seed = seed
        self.clock_ms = clock_ms

    def policy(self) -> OSPolicy:
        return OSPolicy(datetime="call_host", sleep="call_host", timezone="utc", process_time="zero",
                        random_start={"seed": str(self._seed)})

    def answer(self, name: str, args: tuple[Any, ...]) -> Answer | None:
        """None: not handled, Monty refuses it in its own words."""
        match name:
            case "time.time":
                return {"return_value": self.clock_ms / 1000}
            case "datetime.now":
                return {"return_value": self._now(args[0] if args else None)}
            case "date.today":
                return {"return_value": self._now(None).date()}
            case "os.urandom":
                return self._bytes(args)
            case "os.getenv":
                return {"return_value": args[1] if len(args) > 1 else None}
            case "os.environ":
                return {"return_value": {}}
            case _:
                return None

    def uuid4(self) -> str:
        text = f"{self._random.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (4 << 76) | (2 << 62):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def token(self, length: int) -> bytes:
        return self._random.randbytes(max(0, min(length, _MAX_RANDOM_BYTES)))

    def below(self, bound: int) -> int:
        return self._random.randrange(bound)

    def _now(self, zone: datetime.tzinfo | None) -> datetime.datetime:
        moment = datetime.datetime.fromtimestamp(self.clock_ms / 1000, datetime.UTC)
        return moment.astimezone(zone) if zone is not None else moment.replace(tzinfo=None)

    def _bytes(self, args: tuple[Any, ...]) -> Answer:
        length = args[0] if args else 0
        if not isinstance(length, int) or not 0 <= length <= _MAX_RANDOM_BYTES:
            return {"exc_type": "ValueError", "message": f"urandom takes 0 to {_MAX_RANDOM_BYTES} bytes"}
        return {"return_value": self._random.randbytes(length)}
