"""An engine whose programs are plain Python in the worker itself: a guest that has already taken its worker over.

A program sets `result`, or defines `start()` and `deliver(deliveries)` that give turns. All it imports is
imported here, since nothing can be imported inside the jail.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inhabit.contracts.program import (
    Boot,
    Delivery,
    Finished,
    IssuedCall,
    Language,
    LogLine,
    Prepared,
    Problem,
    Timer,
    Turn,
    Usage,
)
from inhabit.errors import LimitExceeded
from inhabit.wire.frames import Kind, frame
from inhabit.wire.replies import encode_turn

GIVEN: dict[str, Any] = {module.__name__: module for module in (
    ctypes, errno, fcntl, gc, json, mmap, os, resource, signal, socket, struct, sys, threading, time)} | {
    kind.__name__: kind for kind in (Finished, IssuedCall, LogLine, Timer, Turn, Usage, Kind, LimitExceeded)} | {
    "frame": frame, "encode_turn": encode_turn, "libc": ctypes.CDLL(None, use_errno=True)}


class ScriptedGuest:
    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.names: dict[str, Any] = dict(GIVEN)

    def start(self) -> Turn:
        exec(self.boot.code, self.names)   # noqa: S102 - the very point of it
        if "start" in self.names:
            return self.names["start"]()
        return Turn(finished=Finished(True, json.dumps(self.names.get("result")).encode()))

    def deliver(self, deliveries: Sequence[Delivery]) -> Turn:
        return self.names["deliver"](deliveries)

    def close(self) -> None:
        self.names.clear()


class ScriptedEngine:
    language: Language = "typescript"
    version = "scripted/1"

    @classmethod
    def load(cls, cache: Path) -> ScriptedEngine:
        GIVEN["libc"].syscall(39)   # resolved before the jail closes
        return cls()

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        return Prepared(source)

    def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        return (Problem(stubs),)

    def create(self, boot: Boot) -> ScriptedGuest:
        return ScriptedGuest(boot)


class BrokenEngine(ScriptedEngine):
    @classmethod
    def load(cls, cache: Path) -> ScriptedEngine:
        raise RuntimeError("no image")
