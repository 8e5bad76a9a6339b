"""The long steps of the command line, with their progress: read, train, release, reindex, prepare.

A workspace is a folder with `experiments/`, `checkpoints/`, `bundles/`, `data/` and `starter/`.
Everything that is there already is taken, not made again.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from training import bundle, dataset, progress, publish, record
from training.bundle import BundleError
from training.dataset import Dataset, DatasetError, NoImagesError
from training.embed import batches
from training.experiments import Experiment, find
from training.manifest import MANIFEST
from training.network import BlockNet
from training.novelty import REFERENCES
from training.progress import say
from training.record import Record, Stage
from training.release import (
    PROBES,
    ReleaseError,
    Shape,
    Trained,
    assemble,
    choose,
    examine,
    from_bundle,
    require_same_classes,
)
from training.run import Plan, begin, finished, recorded, run_and_keep
from training.splits import Splits, indices_sha256, split_once


@dataclass(frozen=True)
class Workspace:
    """The folder that the steps read and write, the device that they use, and their seeds.

    With `stop_if_collapsed`, a run that learns nothing is given up early.
    """

    root: Path
    device: torch.device
    seed: int = 0
    split_seed: int = 0
    stop_if_collapsed: bool = False

    @property
    def experiments(self) -> Path:
        """Run records, and splits below."""
        return self.root / "experiments"

    @property
    def checkpoints(self) -> Path:
        """Trained networks."""
        return self.root / "checkpoints"

    @property
    def current(self) -> Path:
        """A link to the bundle that was made last."""
        return self.root / "bundles" / "current"

    @property
    def starter(self) -> Path:
        """The bundle that comes with the code."""
        return self.root / "starter"

    def bundle_of(self, data: Path | None) -> Path:
        """Where the bundle built from this data belongs; folders of one name do not share it."""
        if data is None:
            return self.current.with_name("cifar10")
        place = data.expanduser().resolve()
        name = re.sub(r"\.(tar|tgz|zip)\b.*$", "", place.name) or "images"
        digest = hashlib.sha256(str(place).encode()).hexdigest()
        return self.current.with_name(f"{name}-{digest[:6]}")

    def read(self, data: Path | None) -> tuple[Dataset, Splits]:
        """The data asked for, or CIFAR-10 downloaded; and its split.

        Raises:
            DatasetError: there is none, or it cannot be split.

        """
        if data is None:
            images = dataset.download(self.root / "data")
        else:
            with progress.track(f"reading {data.name}") as on_image:
                images = dataset.load(data, on_image=on_image)
        return images, split_once(images, self.split_seed, self.experiments / "splits")

    def train(
        self, experiment: Experiment, stage: Stage, images: Dataset, splits: Splits
    ) -> tuple[BlockNet, Record]:
        """Run an experiment, or take what an earlier run of it left."""
        plan = Plan(experiment, images, splits, self.seed, stage, self.device)
        if done := finished(plan, self.experiments, self.checkpoints):
            say(f"{plan.run_id}: already done")
            return done
        study = recorded(replace(plan, stage="study"), self.experiments)
        known = study.calibration if study and stage == "final" else None
        say(f"{plan.run_id} on {images.name} ({self.device})")
        with progress.track(f"training {experiment.name}", plan.steps) as on_step:
            network, made = run_and_keep(
                plan,
                self.experiments,
                self.checkpoints,
                temperature=known.temperature if known else None,
                stop_if_collapsed=self.stop_if_collapsed,
                on_step=on_step,
                on_epoch=progress.show_epoch,
            )
        if made.test:
            say(f"{made.status}, test accuracy {made.test.accuracy:.4f}")
        return network, made

    def suite(
        self,
        experiments: Sequence[Experiment],
        seeds: Sequence[int],
        images: Dataset,
        splits: Splits,
    ) -> int:
        """Study every experiment with every seed; a run that fails is recorded, the rest goes on.

        What has a record that did not fail is not run again. Returns how many failed.
        """
        plans = [
            Plan(experiment, images, splits, seed, "study", self.device)
            for seed in seeds
            for experiment in experiments
        ]
        failed = 0
        for number, plan in enumerate(plans, start=1):
            if recorded(plan, self.experiments):
                say(f"[{number}/{len(plans)}] {plan.run_id}: already done")
                continue
            try:
                replace(self, seed=plan.seed).train(plan.experiment, "study", images, splits)
            except Exception as error:  # whatever it is, the other runs go on
                record.write(
                    begin(plan).model_copy(update={"error": repr(error)}), self.experiments
                )
                say(f"{plan.run_id} failed: {error!r}", style="red")
                failed += 1
        return failed

    def read_own_test(self, data: Path | None) -> Dataset | None:
        """The test images that the data set itself sets apart, if it does."""
        if data is None:
            return dataset.download(self.root / "data", "test")
        try:
            with progress.track(f"reading {data.name}, its own test images") as on_image:
                return dataset.load(data, "test", on_image)
        except NoImagesError:
            return None

    def release(
        self,
        images: Dataset,
        splits: Splits,
        target: Path,
        shape: Shape,
        own_test: Dataset | None = None,
    ) -> Path:
        """Choose, retrain from a fresh start on train + validation, examine, and publish."""
        publish.require_free(target)
        require_same_classes(images, own_test)
        held_out = indices_sha256(splits.indices("test"))
        name = choose(record.read_all(self.experiments), images.fingerprint, held_out)
        study = Plan(find(name), images, splits, self.seed, "study", self.device)
        if recorded(study, self.experiments) is None:
            self.train(find(name), "study", images, splits)
        network, final = self.train(find(name), "final", images, splits)
        say(f"examining {final.run_id}")
        final = examine(network, final, images, splits, own_test, self.device)
        record.write(final, self.experiments)
        records = record.read_all(self.experiments)
        own = [one for one in records if one.dataset.fingerprint == images.fingerprint]
        trained = Trained(network, final, own)
        return self.publish(trained, images, splits, target, shape)

    def publish(
        self, trained: Trained, images: Dataset, splits: Splits, target: Path, shape: Shape
    ) -> Path:
        """Embed the held-out images of `images` with a trained network and write the bundle."""
        total = (
            batches(len(splits.test))
            + batches(min(PROBES, len(splits.validation)))
            + batches(min(REFERENCES, len(splits.train)))
        )
        with progress.track("embedding", total) as on_batch:
            contents = assemble(trained, images, splits, self.device, shape, on_batch)
        manifest = publish.write(contents, target)
        say(
            f"{manifest.name} {manifest.version}: {manifest.gallery.count} images, "
            f"test accuracy {manifest.metrics.test_accuracy:.4f}"
        )
        return target

    def prepare(self, data: Path | None, *, download: bool = True) -> Path:
        """The bundle to serve: the one already built, else one from data, else the starter.

        The starter's network is taken where it fits the data, which spares the training.

        Raises:
            DatasetError: data was named, and there is none.

        """
        if data is None and (self.current / MANIFEST).is_file():
            return self.current.resolve()
        target = self.bundle_of(data)
        if (target / MANIFEST).is_file():
            return target
        try:
            if data is None and not download:
                raise DatasetError("CIFAR-10 is not to be downloaded")
            images, splits = self.read(data)
        except DatasetError as error:
            if data is not None:
                raise
            say(
                f"{error}. Serving the starter bundle, whose gallery has vectors but no pictures; "
                "for pictures: make serve DATA=FOLDER-OR-ARCHIVE"
            )
            return self.starter
        try:
            starter = from_bundle(bundle.load(self.starter))
            self.publish(starter, images, splits, target, Shape())
        except (BundleError, ReleaseError) as reason:
            say(f"Training a network on {images.name}: {reason}")
            self.release(images, splits, target, Shape(), self.read_own_test(data))
        publish.point(self.current, target)
        return target
