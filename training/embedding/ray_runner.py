"""The same shards, shared out by Ray Data among the cores or machines of a Ray cluster.

All of them need to see the source, the folder and the bundle at the same paths. Knows Ray; the work
itself is that of `bulk.py`, so shards of either kind lie in one folder.
"""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training import bundle
from training.data.archive import NoSourceError, reader
from training.embedding.bulk import (
    BulkError,
    Embedder,
    Job,
    Settled,
    Tally,
    agree,
    chunks,
    settle,
)
from training.embedding.shards import Note
from training.models.device import pick_device


@dataclass(frozen=True)
class Place:
    """How a worker comes by its own copy of the network: from this bundle, onto this device."""

    bundle: Path
    device: str


def run(job: Job, place: Place, workers: int) -> Tally:
    """Make every shard by so many workers, each with a network of its own.

    Raises:
        BulkError: Ray is not installed, or the source cannot be read in any order.
        NoImagesError: it has no images.
        ShardError: the folder holds other shards, or the images are no longer those of a shard.

    """
    if find_spec("ray") is None:
        raise BulkError(
            "Ray is not installed: pip install 'ray[data]', or start this command several times "
            "without --ray; the processes share the work out among themselves"
        )
    import ray.data  # noqa: PLC0415  # takes seconds, and is seldom there

    try:
        reader(job.source)
    except NoSourceError as error:
        raise BulkError(str(error)) from error
    agree(job)
    work = [
        {"number": number, "paths": [path for path, _ in chunk]} for number, chunk in chunks(job)
    ]
    settled = ray.data.from_items(work, override_num_blocks=len(work)).map(
        _Worker,
        fn_constructor_args=(job, place),
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    return Tally.of([_unpack(row) for row in settled.take_all()])


class _Worker:
    """Makes one shard after the other."""

    def __init__(self, job: Job, place: Place) -> None:
        self._job = job
        self._embedder = Embedder(bundle.load(place.bundle).network, pick_device(place.device))
        self._read = reader(job.source)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:  # Any: Ray's own type of a row
        chunk = ((path, partial(self._read, path)) for path in map(str, row["paths"]))
        settled = settle(self._job, self._embedder, int(row["number"]), chunk)
        note = settled.note.model_dump_json() if settled.note else ""
        return {"number": settled.number, "state": settled.state, "note": note}


def _unpack(row: dict[str, Any]) -> Settled:
    note = Note.model_validate_json(row["note"]) if row["note"] else None
    return Settled(int(row["number"]), row["state"], note)
