"""BentoML with adaptive batching: up to 32 at once.

One worker has the network with every core; how long to wait for more is BentoML's own to learn, and
`max_latency_ms` is at its default of a minute, so that nothing is refused. Access logs are off. The
pictures are a list of base64 in JSON: what is batchable takes and gives lists.
"""

import base64

import bentoml

from benchmarks.peers.model import WORKERS, Answer, PeerModel


@bentoml.service(workers=WORKERS, threads=1, logging={"access": {"enabled": False}})
class ModelService:
    """Classes, and the nearest images where asked for."""

    def __init__(self) -> None:
        self._model = PeerModel.of_environment()

    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, images: list[str]) -> list[Answer]:
        """Run the network once for all of them."""
        return self._model.answer([base64.b64decode(image) for image in images])
