"""Which images train, which choose, which test: seeded, stratified, saved, hashed, disjoint.

Knows positions in a data set, not images.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError, model_validator
from torch import Tensor

from training.base_model import Frozen
from training.data.dataset import Dataset, DatasetError

FRACTIONS = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""The report's 70:15:15."""
MINIMUM_PER_CLASS = 4
"""Four images of a class split into 2, 1 and 1; fewer would leave one to learn from."""

Indices = npt.NDArray[np.int64]


class Splits(Frozen):
    """Three disjoint, sorted lists of positions in the data set of that fingerprint."""

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

    def indices(self, *names: str) -> Indices:
        """Sorted positions of one split, or of several together."""
        parts = [np.array(getattr(self, name), dtype=np.int64) for name in names]
        return np.sort(np.concatenate(parts))


def indices_sha256(indices: Indices) -> str:
    """sha256 of sorted positions as little-endian 64-bit integers."""
    return hashlib.sha256(np.sort(indices).astype("<i8").tobytes()).hexdigest()


def split(dataset: Dataset, seed: int) -> Splits:
    """Split each class 70:15:15 at random.

    Positions follow the ids, not the pixels: every copy of CIFAR-10, whatever its encoding, is
    split alike, so a network trained on one has not seen the test images of another.

    Raises:
        DatasetError: fewer than two classes, or classes too small to be split; names them.

    """
    if len(dataset.classes) < 2:
        raise DatasetError(
            f"{dataset.name} has one class, {dataset.classes[0]!r}; at least two are needed"
        )
    classes = _positions_by_class(dataset.labels, len(dataset.classes))
    small = [
        f"{name!r} has {len(members)}"
        for name, members in zip(dataset.classes, classes, strict=True)
        if len(members) < MINIMUM_PER_CLASS
    ]
    if small:
        raise DatasetError(
            f"too few images in {dataset.name}: class {', '.join(small)}; at least "
            f"{MINIMUM_PER_CLASS} are needed for train, validation and test"
        )
    random = np.random.Generator(np.random.PCG64(seed))
    parts: dict[str, list[Indices]] = {name: [] for name in FRACTIONS}
    for members in classes:
        held_out = max(1, round(len(members) * FRACTIONS["test"]))
        shuffled = random.permutation(members)
        parts["test"].append(shuffled[:held_out])
        parts["validation"].append(shuffled[held_out : 2 * held_out])
        parts["train"].append(shuffled[2 * held_out :])
    ordered = {name: np.sort(np.concatenate(chunks)).tolist() for name, chunks in parts.items()}
    return Splits(fingerprint=dataset.fingerprint, seed=seed, **ordered)


def split_once(dataset: Dataset, seed: int, folder: Path) -> Splits:
    """The split saved in `folder` for this data set and seed; made and saved if there is none.

    Raises:
        DatasetError: it cannot be split, or what is saved is not a split of it; names the file.

    """
    file = folder / f"{dataset.name}-{dataset.fingerprint[:8]}-seed{seed}.json"
    if file.exists():
        return _read(file, dataset, seed)
    made = split(dataset, seed)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_text(made.model_dump_json() + "\n", encoding="utf-8")
    temporary.replace(file)
    return made


def _read(file: Path, dataset: Dataset, seed: int) -> Splits:
    try:
        saved = Splits.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DatasetError(f"{file} is damaged, remove it: {error}") from error
    if (saved.fingerprint, saved.seed) != (dataset.fingerprint, seed):
        raise DatasetError(f"{file} is not a split of {dataset.name} with seed {seed}: remove it")
    return saved


def _positions_by_class(labels: Tensor, classes: int) -> list[Indices]:
    values = labels.numpy()
    return [np.flatnonzero(values == label) for label in range(classes)]
