"""Any number of images to shards: a stream, shared out among processes, stopped and resumed.

Never more than one batch of images is in memory. Knows pictures, networks and shards; nothing of
whoever reads them.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image

from training.data.archive import DAMAGED, NoSourceError, iter_files
from training.data.dataset import IMAGE_SUFFIXES, NoImagesError
from training.data.preprocessing import SIZE, to_pixels
from training.embedding import shards
from training.embedding.embed import BATCH, embed
from training.embedding.leases import lease
from training.embedding.shards import Rows, ShardError, ShardMetadata, Writer
from training.index.cosine import Vectors
from training.models.blocknet import BlockNet, Layer

Read = Callable[[], bytes]
OnImage = Callable[[], None]


class BulkError(RuntimeError):
    """The images cannot be embedded as asked; the message says what to do."""


LONGEST: Final = 100
"""Letters of a path that an id has, and of a folder that a label has."""


@dataclass(frozen=True)
class ShardSpec:
    """Which shards are this process's: each `of`-th, from the `one`-th on; all of them by default.

    Whoever has all takes what nobody else is at, so any number of processes may share the work.
    """

    one: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "ShardSpec":
        """`2/4` is the second of four.

        Raises:
            BulkError: it is none of that kind.

        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise BulkError(f"no share {text!r}: give it as 1/4, the first of four")
        return cls(int(found[1]), int(found[2]))

    def has(self, number: int) -> bool:
        """Whether a shard is in it."""
        return number % self.of == self.one - 1


ALL_SHARDS: Final = ShardSpec()


@dataclass(frozen=True)
class Job:
    """What is to be embedded, at which layers of which network, into which folder.

    `network` is its `Bundle.network_id`; `labelled` takes an image's folder for its label.
    """

    source: Path
    folder: Path
    network: str
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    size: int = 4096
    labelled: bool = True


@dataclass(frozen=True)
class Embedder:
    """A network on its device."""

    network: BlockNet
    device: torch.device

    def __call__(self, images: torch.Tensor, layers: Sequence[Layer]) -> dict[Layer, Vectors]:
        """The vectors of uint8 images [N, 3, 32, 32] at each layer, [N, dimension]."""
        return embed(self.network, images, layers, self.device)

    def dimensions(self, layers: Sequence[Layer]) -> dict[Layer, int]:
        """How long they are."""
        found = self(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8), layers)
        return {layer: vectors.shape[1] for layer, vectors in found.items()}


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard; its note, unless it is for another process to make."""

    number: int
    state: Literal["made", "found", "elsewhere"]
    note: ShardMetadata | None


@dataclass(frozen=True)
class JobStats:
    """Shards made now, found whole, and left to others; their images; what could not be read."""

    made: int
    found: int
    elsewhere: int
    images: int
    unreadable: tuple[str, ...]

    @classmethod
    def of(cls, result: Sequence[ShardResult]) -> "JobStats":
        """All of these together."""
        states = Counter(one.state for one in result)
        notes = [one.note for one in result if one.note]
        return cls(
            states["made"],
            states["found"],
            states["elsewhere"],
            sum(note.count for note in notes),
            tuple(path for note in notes for path in note.unreadable),
        )


def run(
    job: Job, embedder: Embedder, share: ShardSpec = ALL_SHARDS, on_image: OnImage = lambda: None
) -> JobStats:
    """Make every shard of the share that is neither there nor in the hands of another process.

    A picture that cannot be read is left out, and named in its shard and in the tally.

    Raises:
        BulkError: no such source, or it is damaged.
        NoImagesError: it has none.
        ShardError: the folder holds other shards, or the images are no longer those of a shard.

    """
    check_job(job)
    result = [
        make_shard(job, embedder, number, chunk, on_image)
        if share.has(number)
        else ShardResult(number, "elsewhere", None)
        for number, chunk in chunks(job)
    ]
    return JobStats.of(result)


def make_shard(
    job: Job,
    embedder: Embedder,
    number: int,
    chunk: Iterable[tuple[str, Read]],
    on_image: OnImage = lambda: None,
) -> ShardResult:
    """Make one shard, but where it is there, or another process is at it."""
    file = job.folder / shards.name(number)
    with lease(file) as renew:
        if renew is None:
            return ShardResult(number, "elsewhere", None)
        if note := _found(file, job):
            _require_same(file, note, [path for path, _ in chunk])
            return ShardResult(number, "found", note)
        return ShardResult(number, "made", _make(job, embedder, file, chunk, renew, on_image))


def chunks(job: Job) -> Iterator[tuple[int, Iterator[tuple[str, Read]]]]:
    """The images of each shard by its number; a chunk is gone when the next one is asked for."""
    number = -1
    for number, chunk in groupby(_numbered(job), key=itemgetter(0)):
        yield number, (member for _, member in chunk)
    if number < 0:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise NoImagesError(f"no images in {job.source}: looked for {known}")


def check_job(job: Job) -> None:
    """See that all who write into the folder make the same shards.

    Raises:
        ShardError: there are others in it.

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


def _make(
    job: Job,
    embedder: Embedder,
    file: Path,
    chunk: Iterable[tuple[str, Read]],
    on_batch: Callable[[], None],
    on_image: OnImage,
) -> ShardMetadata:
    """Embed these images into one shard."""
    paths: list[str] = []
    unreadable: list[str] = []
    count = 0

    def readable() -> Iterator[tuple[str, torch.Tensor, bytes]]:
        for path, read in chunk:
            paths.append(path)
            on_image()
            try:
                yield path, *_decode(read())
            except Exception as error:  # damaged pictures make Pillow raise almost anything
                unreadable.append(f"{path} ({error})")

    with Writer(file, job.network, embedder.dimensions(job.layers)) as writer:
        stream = readable()
        while batch := list(islice(stream, BATCH)):
            names, pixels, pictures = zip(*batch, strict=True)
            vectors = embedder(torch.stack(pixels), (*job.layers, "logits"))
            rows = Rows(
                ids=[identify(path) for path in names],
                labels=[_label(path) if job.labelled else None for path in names],
                predicted=[job.classes[index] for index in vectors["logits"].argmax(1)],
                images=pictures,
                vectors=vectors,
            )
            writer.write(rows)
            count += len(batch)
            on_batch()
        note = ShardMetadata(
            network=job.network,
            members_sha256=shards.digest_of(paths),
            count=count,
            unreadable=tuple(unreadable),
        )
        writer.finish(note)
    return note


def identify(path: str) -> str:
    """An id for the image at this path, fit for a URL: the same wherever it is worked out."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path)[-LONGEST:].lstrip("-._")
    return f"{plain}-{hashlib.sha256(path.encode()).hexdigest()[:12]}".lstrip("-")


def _numbered(job: Job) -> Iterator[tuple[int, tuple[str, Read]]]:
    """Every image with the number of its shard."""
    position = 0
    try:
        for path, read in iter_files(job.source):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield position // job.size, (str(path), read)
                position += 1
    except NoSourceError as error:
        raise BulkError(str(error)) from error
    except DAMAGED as error:
        raise BulkError(f"{job.source} cannot be read: {error}") from error


def _found(file: Path, job: Job) -> ShardMetadata | None:
    """What a shard says that is there and whole; a damaged one is made again."""
    if not file.exists():
        return None
    try:
        note = shards.verify(file)
    except ShardError:
        return None
    return note if note.network == job.network else None


def _require_same(file: Path, note: ShardMetadata, paths: Sequence[str]) -> None:
    if shards.digest_of(paths) != note.members_sha256:
        raise ShardError(
            f"{file} holds other images than {file.name} would hold now: the source has changed "
            "since. Embed what is new from a folder of its own, or all of it into another folder."
        )


def _decode(content: bytes) -> tuple[torch.Tensor, bytes]:
    """The network's input uint8 [3, 32, 32], and the same as a PNG."""
    with Image.open(BytesIO(content)) as image:
        pixels = to_pixels(image)
    written = BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), written.getvalue()


def _label(path: str) -> str | None:
    return PurePosixPath(path).parent.name[:LONGEST] or None
