"""Embed images into shards on a Ray cluster, by Ray Data.

Every machine needs the source, the folder and the bundle at the same paths. The shards are those
of `bulk.py`, so one folder may hold shards of both.
"""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training import bundle
from training.data.archive import NoSourceError, file_reader
from training.embedding.bulk import Embedder, check_job, chunks, write_shard
from training.embedding.job import BulkError, Job, JobStats, ShardResult
from training.embedding.shards import ShardMetadata
from training.models.device import pick_device


@dataclass(frozen=True)
class WorkerSpec:
    """The bundle that each worker loads its network from, and the device it runs on."""

    bundle: Path
    device: str


def run(job: Job, worker: WorkerSpec, workers: int) -> JobStats:
    """Write every missing shard with `workers` Ray actors, each with its own network.

    Raises:
        BulkError: Ray is not installed, or the source cannot be read in any order.
        NoImagesError: the source has no images.
        ShardError: the folder holds shards of another job, or the source has changed.

    """
    if find_spec("ray") is None:
        raise BulkError(
            "Ray is not installed: pip install 'ray[data]', or start this command several times "
            "without --ray, and the processes divide the work"
        )
    import ray.data  # noqa: PLC0415  # slow to import, and optional

    try:
        file_reader(job.source)
    except NoSourceError as error:
        raise BulkError(str(error)) from error
    check_job(job)
    tasks = [
        {"number": number, "paths": [path for path, _ in chunk]} for number, chunk in chunks(job)
    ]
    results = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        _Worker,
        fn_constructor_args=(job, worker),
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    return JobStats.from_results([_unpack(row) for row in results.take_all()])


class _Worker:
    """A Ray actor that writes shards."""

    def __init__(self, job: Job, worker: WorkerSpec) -> None:
        self._job = job
        self._embedder = Embedder(bundle.load(worker.bundle).network, pick_device(worker.device))
        self._read = file_reader(job.source)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:  # Any: Ray's type of a row
        chunk = ((path, partial(self._read, path)) for path in map(str, row["paths"]))
        result = write_shard(self._job, self._embedder, int(row["number"]), chunk)
        metadata = result.metadata.model_dump_json() if result.metadata else ""
        return {"number": result.number, "state": result.state, "metadata": metadata}


def _unpack(row: dict[str, Any]) -> ShardResult:
    content = row["metadata"]
    metadata = ShardMetadata.model_validate_json(content) if content else None
    return ShardResult(int(row["number"]), row["state"], metadata)
