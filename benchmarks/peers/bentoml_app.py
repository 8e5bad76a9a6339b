"""BentoML with adaptive batching, in batches of up to 32.

One worker runs the network on every core. BentoML learns by itself how long to wait for a batch.
`max_latency_ms` has its default of a minute, so that no request is refused. Access logs are off.
The images are a list of base64 strings in JSON, because a batchable API takes and returns lists.
"""

import base64

import bentoml

from benchmarks.peers.model import WORKERS, PeerModel, Prediction


@bentoml.service(workers=WORKERS, threads=1, logging={"access": {"enabled": False}})
class ModelService:
    """Serves the class and, if the task has it, the nearest images."""

    def __init__(self) -> None:
        self._model = PeerModel.from_environment()

    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, images: list[str]) -> list[Prediction]:
        """Run the network once for the batch."""
        return self._model.predict([base64.b64decode(image) for image in images])
