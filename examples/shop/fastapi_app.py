"""The shop's own FastAPI app with Inhabit mounted in it: `uvicorn examples.shop.fastapi_app:api`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from examples.shop.app import build

app = build(Path(os.environ.get("SHOP_HOME", ".inhabit/fastapi")))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with app:
        yield


api = FastAPI(title="Shop", lifespan=lifespan)


@api.get("/")
async def home() -> dict[str, str]:
    return {"shop": "open", "programs": "/inhabit/v1/runs"}


api.mount("/inhabit", app.asgi())
