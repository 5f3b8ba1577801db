"""Workers: forked from a zygote, jailed, bound to one tenant, killed in time."""

from inhabit.isolates.pool.pool import ENGINES, PoolSettings, WorkerPool

__all__ = ["ENGINES", "PoolSettings", "WorkerPool"]
