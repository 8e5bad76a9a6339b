"""The plain service: FastAPI, its thread pool, no batching.

A thread a core answers, each with a single thread in torch and FAISS, so that none fights another;
uvicorn has uvloop and httptools. The picture is the raw body, the cheapest form there is.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import anyio.to_thread
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from benchmarks.peers.kin import Kin


def create_app() -> FastAPI:
    """The app, its model loaded."""
    kin = Kin.of_environment(threads=1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = os.cpu_count() or 1
        yield

    app = FastAPI(lifespan=lifespan)

    async def body(request: Request) -> bytes:
        return await request.body()

    @app.post("/predict")
    def predict(picture: Annotated[bytes, Depends(body)]) -> JSONResponse:
        return JSONResponse(kin.answer([picture])[0])

    @app.get("/health")
    async def health() -> str:
        return "ok"

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(),
        port=int(sys.argv[1]),
        log_level="warning",
        loop="uvloop",
        http="httptools",
    )
