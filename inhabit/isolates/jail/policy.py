"""The layers of the jail by name, and what an operator asks of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from inhabit.errors import ConfigError, Unavailable

__all__ = ["LAYERS", "JailPolicy", "Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it was found: `active`, or why not (`detail`) and what to do (`fix`)."""

    name: str
    active: bool
    detail: str = ""
    fix: str = ""


_NAMESPACES = ("let unprivileged user namespaces be made: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu "
               "or an AppArmor profile for this Python, `--security-opt seccomp=unconfined` in Docker")

LAYERS = {
    "user_namespace": _NAMESPACES,
    "pid_namespace": _NAMESPACES,
    "network_namespace": _NAMESPACES,
    "mount_namespace": _NAMESPACES,
    "ipc_namespace": _NAMESPACES,
    "uts_namespace": _NAMESPACES,
    "empty_root": _NAMESPACES,
    "resource_limits": "run on Linux",
    "no_new_privileges": "run on Linux 3.5 or newer",
    "no_capabilities": "run on Linux",
    "not_dumpable": "run on Linux",
    "landlock": "boot Linux 5.13 or newer with `lsm=landlock,…` on the kernel command line",
    "seccomp": "run on Linux with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64",
    "one_descriptor": "run on Linux with /proc mounted",
    "dies_with_parent": "run on Linux",
    "kill_timer": "",
}
"""Every layer, in the order of its report, with the way to get it."""


@dataclass(frozen=True, slots=True)
class JailPolicy:
    """`require="all"`: a worker without a layer is refused, unless the layer is in `accept_missing`.
    `require="warn"`: it serves, and the pool's warnings name what is missing.

    `off` leaves layers out on purpose; it is for tests that show what each layer stops. A layer that is off
    counts as missing. `data_bytes` bounds a worker's private writable memory (RLIMIT_DATA), behind the engines'
    own limits.
    """

    require: Literal["all", "warn"] = "all"
    accept_missing: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    data_bytes: int = 6 * 1024**3

    def __post_init__(self) -> None:
        unknown = sorted((self.accept_missing | self.off) - LAYERS.keys())
        if unknown:
            raise ConfigError(f"there is no jail layer {unknown[0]!r}", fix=f"one of {', '.join(LAYERS)}")

    def judge(self, layers: Iterable[Layer]) -> tuple[str, ...]:
        """The warnings to show. Raises `Unavailable`, naming the first missing layer and its fix."""
        missing = [layer for layer in layers if not layer.active]
        refused = [layer for layer in missing if self.require == "all" and layer.name not in self.accept_missing]
        if refused:
            names = ", ".join(layer.name for layer in refused)
            raise Unavailable(f"the jail lacks {names}: {refused[0].detail}",
                              fix=f"{refused[0].fix or 'see `inhabit doctor`'}; or name it in jail.accept_missing",
                              details={"missing": [layer.name for layer in refused]})
        return tuple(f"jail layer {layer.name} is missing ({layer.detail}); {layer.fix}" for layer in missing)
