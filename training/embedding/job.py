"""A job of embedding images into shards: its settings, its parts and its results.

Plain data; must not read images or run a network.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from training.embedding.shards import ShardMetadata
from training.models.layers import Layer

ShardState = Literal["written", "existing", "skipped"]


class BulkError(RuntimeError):
    """The images cannot be embedded; the message says what to do."""


@dataclass(frozen=True)
class Job:
    """The images to embed, the layers and the folder of the shards.

    `network` is the `Bundle.network_id`, `size` the number of images in a shard. If `labelled`, the
    name of an image's folder is its label.
    """

    source: Path
    folder: Path
    network: str
    classes: tuple[str, ...]
    layers: tuple[Layer, ...]
    size: int = 4096
    labelled: bool = True


@dataclass(frozen=True)
class ShardSpec:
    """The shards that a process writes: every `count`-th from number `index` on; all by default.

    Shards that another process is writing are skipped, so several processes may take all shards.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "ShardSpec":
        """Parse a text such as `2/4`, the second of four.

        Raises:
            BulkError: the text has another form.

        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise BulkError(f"invalid shard {text!r}: give it as 1/4, the first of four")
        return cls(int(match[1]), int(match[2]))

    def contains(self, number: int) -> bool:
        """Return whether the process writes this shard."""
        return number % self.count == self.index - 1


ALL_SHARDS: Final = ShardSpec()


@dataclass(frozen=True)
class ShardResult:
    """The result of one shard; its metadata is None if the shard was skipped."""

    number: int
    state: ShardState
    metadata: ShardMetadata | None


@dataclass(frozen=True)
class JobStats:
    """Numbers of shards written, existing and skipped, and of their images; undecodable paths."""

    written: int
    existing: int
    skipped: int
    images: int
    unreadable: tuple[str, ...]

    @classmethod
    def from_results(cls, results: Sequence[ShardResult]) -> "JobStats":
        """Sum up the results of all shards."""
        states = Counter(result.state for result in results)
        shards_metadata = [result.metadata for result in results if result.metadata]
        return cls(
            states["written"],
            states["existing"],
            states["skipped"],
            sum(metadata.count for metadata in shards_metadata),
            tuple(path for metadata in shards_metadata for path in metadata.unreadable),
        )
