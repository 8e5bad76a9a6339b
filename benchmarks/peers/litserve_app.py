"""LitServe with dynamic batching: up to 32 at once, a window of 5 ms.

One worker has the network with every core, so that one batch is run at a time and as fast as can
be; the queue is ZeroMQ's (`fast_queue`, advised from 100 requests a second on). The picture is
base64 in JSON, as its documentation has it.
"""

import base64
import sys
from collections.abc import Sequence

import litserve

from benchmarks.peers.model import WORKERS, Answer, PeerModel


class ModelAPI(litserve.LitAPI):
    """Classes, and the nearest images where asked for."""

    def setup(self, device: str) -> None:
        """Load the model, once a worker."""
        self._model = PeerModel.of_environment()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """The picture's bytes."""
        return base64.b64decode(request["image"])

    def batch(self, inputs: Sequence[bytes]) -> Sequence[bytes]:
        """They are put together in `PeerModel`."""
        return inputs

    def predict(self, x: Sequence[bytes]) -> list[Answer]:
        """Run the network once for all of them."""
        return self._model.answer(x)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        """They are apart already."""
        return output

    def encode_response(self, output: Answer) -> Answer:
        """As it is."""
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
