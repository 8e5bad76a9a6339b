"""The plain service: FastAPI and its thread pool, no batching.

To be run with a single thread in torch and FAISS, so that those of the pool do not fight. uvicorn
has uvloop and httptools; the picture is the raw body, the cheapest form there is.
"""

import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from benchmarks.peers.model import PeerModel


def create_app() -> FastAPI:
    """The app, its model loaded."""
    kin = PeerModel.of_environment()
    app = FastAPI()

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
