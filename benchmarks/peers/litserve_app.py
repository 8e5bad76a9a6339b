"""LitServe with dynamic batching, in batches of up to 32, within a window of 5 ms.

One worker runs the network on every core, so that one batch runs at a time, as fast as possible.
The queue is ZeroMQ's (`fast_queue`), which is advised from 100 requests/s. The image is base64 in
JSON, as in LitServe's documentation.
"""

import base64
import sys
from collections.abc import Sequence

import litserve

from benchmarks.peers.model import WORKERS, PeerModel, Prediction


class ModelAPI(litserve.LitAPI):
    """Serves the class and, if the task has it, the nearest images."""

    def setup(self, device: str) -> None:
        """Load the model, once per worker."""
        self._model = PeerModel.from_environment()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Return the bytes of the image."""
        return base64.b64decode(request["image"])

    def batch(self, inputs: Sequence[bytes]) -> Sequence[bytes]:
        """Return the inputs unchanged: `PeerModel` stacks them."""
        return inputs

    def predict(self, x: Sequence[bytes]) -> list[Prediction]:
        """Run the network once for the batch."""
        return self._model.predict(x)

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        """Return the predictions unchanged: they are a list already."""
        return output

    def encode_response(self, output: Prediction) -> Prediction:
        """Return the prediction unchanged: it is JSON already."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        ModelAPI(max_batch_size=32, batch_timeout=0.005),
        accelerator="cpu",
        workers_per_device=WORKERS,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )
