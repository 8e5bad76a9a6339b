"""Splits into training, validation and test images: seeded, stratified, disjoint, saved.

Works on positions in a data set; must not read images.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError, model_validator
from torch import Tensor

from training.base_model import Frozen
from training.data.dataset import Dataset, DatasetError
from training.data.folder_layout import Part

FRACTIONS = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""As in the report."""
MINIMUM_TO_TRAIN = 2
"""Images of a class that must be left to train on, after one each for the other splits."""
PURPOSES = {"train": "to train", "validation": "to validate", "test": "to test"}
MAX_SHOWN = 10

Indices = npt.NDArray[np.int64]


class Splits(Frozen):
    """Three disjoint, sorted lists of positions in the data set with this fingerprint."""

    fingerprint: str
    seed: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @model_validator(mode="after")
    def _disjoint(self) -> "Splits":
        total = len(self.train) + len(self.validation) + len(self.test)
        if len({*self.train, *self.validation, *self.test}) != total:
            raise ValueError("splits overlap")
        return self

    def part_of(self) -> dict[int, Part]:
        """Return the split of each position."""
        parts: tuple[Part, ...] = ("train", "validation", "test")
        return {position: part for part in parts for position in getattr(self, part)}

    def indices(self, *names: str) -> Indices:
        """Return the sorted positions of one or more splits."""
        parts = [np.array(getattr(self, name), dtype=np.int64) for name in names]
        return np.sort(np.concatenate(parts))


def indices_sha256(indices: Indices) -> str:
    """Compute the sha256 of the sorted positions as little-endian 64-bit integers."""
    return hashlib.sha256(np.sort(indices).astype("<i8").tobytes()).hexdigest()


def split(dataset: Dataset, seed: int) -> Splits:
    """Split each class 70:15:15 at random, by the seed.

    Images in a folder `test` are the test split, and those in a folder `val` the validation split.
    What is missing is split off the other images. The split depends on labels and their order, not
    on pixels. Copies of CIFAR-10 in different encodings have the same split, so a network trained
    on one was not trained on the test images of another.

    Raises:
        DatasetError: there are fewer than two classes, or some are too small; the message names
            them.

    """
    if len(dataset.classes) < 2:
        raise DatasetError(
            f"{dataset.name} has one class, {dataset.classes[0]!r}; at least two are needed"
        )
    given = given_parts(dataset)
    pool = np.isin(given, ["train", ""])
    positions = _positions_by_class(dataset.labels, len(dataset.classes), pool)
    made = [name for name in ("test", "validation") if name not in given]
    _require_enough(dataset, positions, MINIMUM_TO_TRAIN + len(made))
    random = np.random.Generator(np.random.PCG64(seed))
    parts: dict[str, list[Indices]] = {name: [np.flatnonzero(given == name)] for name in FRACTIONS}
    parts["train"] = []
    for members in positions:
        shuffled = random.permutation(members)
        held_out = max(1, round(len(members) * FRACTIONS["test"]))
        for name in made:
            parts[name].append(shuffled[:held_out])
            shuffled = shuffled[held_out:]
        parts["train"].append(shuffled)
    ordered = {name: np.sort(np.concatenate(chunks)).tolist() for name, chunks in parts.items()}
    return Splits(fingerprint=dataset.fingerprint, seed=seed, **ordered)


def given_parts(dataset: Dataset) -> npt.NDArray[np.str_]:
    """Return the part that the folder of each image names; "" if none does."""
    if dataset.files is None or dataset.files.parts is None:
        return np.full(len(dataset), "", dtype=np.str_)
    return np.array(dataset.files.parts, dtype=np.str_)


def describe(dataset: Dataset, splits: Splits) -> str:
    """Describe the size of each split, and whether a folder of its own gave it."""
    given = {*given_parts(dataset)} - {"", "train"}
    return ", ".join(
        f"{len(getattr(splits, name)):,} {purpose} ({'given' if name in given else 'split off'})"
        if name != "train"
        else f"{len(splits.train):,} {purpose}"
        for name, purpose in PURPOSES.items()
    )


def _require_enough(dataset: Dataset, positions: list[Indices], minimum: int) -> None:
    small = [
        f"{name!r} has {len(members)}"
        for name, members in zip(dataset.classes, positions, strict=True)
        if len(members) < minimum
    ]
    if small:
        raise DatasetError(
            f"too few images in {dataset.name}: class {', '.join(small[:MAX_SHOWN])}"
            f"{', ...' if len(small) > MAX_SHOWN else ''}; at least {minimum} are needed for "
            "train, validation and test"
        )


def split_once(dataset: Dataset, seed: int, folder: Path) -> Splits:
    """Read the split of this data set and seed from `folder`; make and save it if there is none.

    Raises:
        DatasetError: the data cannot be split, or the saved file is damaged or of other data; the
            message names the file.

    """
    file = folder / f"{dataset.name}-{dataset.fingerprint[:8]}-seed{seed}.json"
    if file.exists():
        return _read(file, dataset, seed)
    new = split(dataset, seed)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_text(new.model_dump_json() + "\n", encoding="utf-8")
    temporary.replace(file)
    return new


def _read(file: Path, dataset: Dataset, seed: int) -> Splits:
    try:
        saved = Splits.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DatasetError(f"{file} is damaged, remove it: {error}") from error
    if (saved.fingerprint, saved.seed) != (dataset.fingerprint, seed):
        raise DatasetError(f"{file} is not a split of {dataset.name} with seed {seed}: remove it")
    return saved


def _positions_by_class(
    labels: Tensor, class_count: int, pool: npt.NDArray[np.bool_]
) -> list[Indices]:
    values = labels.numpy()
    return [np.flatnonzero((values == label) & pool) for label in range(class_count)]
