"""Embed any number of images into shards: a stream that can be divided, stopped and resumed.

At most one batch of images is in memory. Works on images, networks and shards; must not know how
the shards are used.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import torch
from PIL import Image

from training.data import names as file_names
from training.data.archive import DAMAGED, NoSourceError, iter_files
from training.data.dataset import NoImagesError
from training.data.formats import OTHER_SUFFIXES, SUFFIXES, describe_error, open_image
from training.data.preprocessing import reduce_jpeg, to_pixels
from training.embedding import shards
from training.embedding.embed import BATCH_SIZE, embed
from training.embedding.job import ALL_SHARDS, BulkError, Job, JobStats, ShardResult, ShardSpec
from training.embedding.leases import lease
from training.embedding.shards import Rows, ShardError, ShardMetadata, ShardWriter
from training.index.cosine import Vectors
from training.models.layers import Layer
from training.models.network import Network

Read = Callable[[], bytes]
OnImage = Callable[[], None]


MAX_NAME_LENGTH: Final = 100
"""Maximum number of characters of the path in an id, and of the folder in a label."""


@dataclass(frozen=True)
class Embedder:
    """A network on its device."""

    network: Network
    device: torch.device

    def __call__(self, images: torch.Tensor, layers: Sequence[Layer]) -> dict[Layer, Vectors]:
        """Embed uint8 images [N, 3, side, side]; return vectors [N, dimension] of each layer."""
        return embed(self.network, images, layers, self.device)

    def dimensions(self, layers: Sequence[Layer]) -> dict[Layer, int]:
        """Return the vector length of each layer."""
        return {layer: self.network.spec.layer(layer).length for layer in layers}


def run(
    job: Job, embedder: Embedder, shard: ShardSpec = ALL_SHARDS, on_image: OnImage = lambda: None
) -> JobStats:
    """Write every shard of `shard` that neither exists nor is being written by another process.

    Images that cannot be decoded are left out, and listed in the shard and in the result.

    Args:
        job: to run.
        embedder: the network.
        shard: this process's part of the job.
        on_image: called for each image, before it is decoded.

    Raises:
        BulkError: the source is missing or damaged.
        NoImagesError: the source has no images.
        ShardError: the folder holds shards of another job, or the source has changed.

    """
    check_job(job)
    results = [
        write_shard(job, embedder, number, chunk, on_image)
        if shard.contains(number)
        else ShardResult(number, "skipped", None)
        for number, chunk in chunks(job)
    ]
    return JobStats.from_results(results)


def write_shard(
    job: Job,
    embedder: Embedder,
    number: int,
    chunk: Iterable[tuple[str, Read]],
    on_image: OnImage = lambda: None,
) -> ShardResult:
    """Write one shard, unless it exists or another process is writing it.

    Args:
        job: that the shard is part of.
        embedder: the network.
        number: of the shard.
        chunk: path and reader of each of its images.
        on_image: called for each image, before it is decoded.

    Raises:
        ShardError: the shard exists, and was written from other images.

    """
    file = job.folder / shards.file_name(number)
    with lease(file) as renew:
        if renew is None:
            return ShardResult(number, "skipped", None)
        if metadata := _read_existing(file, job):
            _require_same_images(file, metadata, [path for path, _ in chunk])
            return ShardResult(number, "existing", metadata)
        metadata = _embed_into(job, embedder, file, chunk, renew, on_image)
        return ShardResult(number, "written", metadata)


def chunks(job: Job) -> Iterator[tuple[int, Iterator[tuple[str, Read]]]]:
    """Yield the number of each shard with path and reader of its images.

    A chunk must be consumed before the next one is taken.

    Raises:
        BulkError: the source is missing or damaged.
        NoImagesError: the source has no images.

    """
    number = -1
    for number, chunk in groupby(_iter_images(job), key=itemgetter(0)):
        yield number, (image for _, image in chunk)
    if number < 0:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise NoImagesError(f"no images in {job.source}: looked for {suffixes}")


def check_job(job: Job) -> None:
    """Check that the folder holds shards of this job only; the first job records its settings.

    Raises:
        ShardError: the folder holds shards of other settings.

    """
    shards.check_job(
        job.folder,
        {
            "network": job.network,
            "layers": list(job.layers),
            "size": job.size,
            "labelled": job.labelled,
        },
    )


def _embed_into(
    job: Job,
    embedder: Embedder,
    file: Path,
    chunk: Iterable[tuple[str, Read]],
    on_batch: Callable[[], None],
    on_image: OnImage,
) -> ShardMetadata:
    """Embed the images of a chunk, and write them as one shard."""
    paths: list[str] = []
    unreadable: list[str] = []
    count = 0
    spec = embedder.network.spec

    def readable() -> Iterator[tuple[str, torch.Tensor, bytes]]:
        for path, read in chunk:
            paths.append(path)
            on_image()
            try:
                yield path, *_decode(read(), spec.side)
            except Exception as error:  # Pillow raises almost any exception for damaged images
                unreadable.append(f"{path} ({describe_error(error)})")

    with ShardWriter(file, job.network, embedder.dimensions(job.layers)) as writer:
        stream = readable()
        while batch := list(islice(stream, BATCH_SIZE)):
            names, pixels, pngs = zip(*batch, strict=True)
            layers = dict.fromkeys((*job.layers, *([spec.classes] if spec.classes else [])))
            vectors = embedder(torch.stack(pixels), tuple(layers))
            rows = Rows(
                ids=[image_id(path) for path in names],
                labels=[_label(path) if job.labelled else None for path in names],
                predicted=[job.classes[index] for index in vectors[spec.classes].argmax(1)]
                if spec.classes
                else [None] * len(names),
                images=pngs,
                vectors=vectors,
            )
            writer.write(rows)
            count += len(batch)
            on_batch()
        metadata = ShardMetadata(
            network=job.network,
            members_sha256=shards.digest_of(paths),
            count=count,
            unreadable=tuple(unreadable),
        )
        writer.finish(metadata)
    return metadata


def image_id(path: str) -> str:
    """Return the id of the image at this path, safe for URLs. It depends on the path alone."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", path)[-MAX_NAME_LENGTH:].lstrip("-._")
    return f"{safe}-{hashlib.sha256(path.encode()).hexdigest()[:12]}".lstrip("-")


def _iter_images(job: Job) -> Iterator[tuple[int, tuple[str, Read]]]:
    """Yield the number of the shard of each image, with its path and reader."""
    position = 0
    try:
        for path, read in iter_files(job.source):
            if path.suffix.lower() in SUFFIXES | OTHER_SUFFIXES:
                yield position // job.size, (file_names.readable(str(path)), read)
                position += 1
    except NoSourceError as error:
        raise BulkError(str(error)) from error
    except DAMAGED as error:
        raise BulkError(f"{job.source} cannot be read: {error}") from error


def _read_existing(file: Path, job: Job) -> ShardMetadata | None:
    """Return the metadata of a shard; None if it is missing, damaged or of another network."""
    if not file.exists():
        return None
    try:
        metadata = shards.verify(file)
    except ShardError:
        return None
    return metadata if metadata.network == job.network else None


def _require_same_images(file: Path, metadata: ShardMetadata, paths: Sequence[str]) -> None:
    if shards.digest_of(paths) != metadata.members_sha256:
        raise ShardError(
            f"{file} was written from other images: the source has changed since. Embed the new "
            "images from a separate folder, or all images into another folder."
        )


def _decode(content: bytes, side: int) -> tuple[torch.Tensor, bytes]:
    """Decode an image to the network's input uint8 [3, side, side], and the same as a PNG."""
    with open_image(content) as image:
        reduce_jpeg(image, side)
        pixels = to_pixels(image, size=side)
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), png.getvalue()


def _label(path: str) -> str | None:
    return PurePosixPath(path).parent.name[:MAX_NAME_LENGTH] or None
