"""FastAPI with its thread pool, without batching.

Run it with one thread for torch and FAISS, so that the threads of the pool do not compete for
cores. uvicorn has uvloop and httptools; the image is the raw body, the cheapest form.
"""

import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from benchmarks.peers.model import PeerModel


def create_app() -> FastAPI:
    """Create the app, and load its model."""
    model = PeerModel.from_environment()
    app = FastAPI()

    async def body(request: Request) -> bytes:
        return await request.body()

    @app.post("/predict")
    def predict(image: Annotated[bytes, Depends(body)]) -> JSONResponse:
        return JSONResponse(model.predict([image])[0])

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
