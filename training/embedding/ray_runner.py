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
from training.data.archive import NoSourceError, file_reader
from training.embedding.bulk import (
    BulkError,
    Embedder,
    Job,
    JobStats,
    ShardResult,
    check_job,
    chunks,
    make_shard,
)
from training.embedding.shards import ShardMetadata
from training.models.device import pick_device


@dataclass(frozen=True)
class WorkerSpec:
    """How a worker comes by its own copy of the network: from this bundle, onto this device."""

    bundle: Path
    device: str


def run(job: Job, place: WorkerSpec, workers: int) -> JobStats:
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
        file_reader(job.source)
    except NoSourceError as error:
        raise BulkError(str(error)) from error
    check_job(job)
    work = [
        {"number": number, "paths": [path for path, _ in chunk]} for number, chunk in chunks(job)
    ]
    result = ray.data.from_items(work, override_num_blocks=len(work)).map(
        _Worker,
        fn_constructor_args=(job, place),
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    return JobStats.of([_unpack(row) for row in result.take_all()])


class _Worker:
    """Makes one shard after the other."""

    def __init__(self, job: Job, place: WorkerSpec) -> None:
        self._job = job
        self._embedder = Embedder(bundle.load(place.bundle).network, pick_device(place.device))
        self._read = file_reader(job.source)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:  # Any: Ray's own type of a row
        chunk = ((path, partial(self._read, path)) for path in map(str, row["paths"]))
        result = make_shard(self._job, self._embedder, int(row["number"]), chunk)
        note = result.note.model_dump_json() if result.note else ""
        return {"number": result.number, "state": result.state, "note": note}


def _unpack(row: dict[str, Any]) -> ShardResult:
    note = ShardMetadata.model_validate_json(row["note"]) if row["note"] else None
    return ShardResult(int(row["number"]), row["state"], note)
