"""The long steps of the command line, with their progress: read, train, release, reindex, resolve.

A workspace is a folder with `experiments/`, `checkpoints/`, `bundles/`, `data/` and `starter/`.
Everything that is there already is taken, not made again.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import MANIFEST
from training.data import dataset
from training.data.dataset import Dataset, DatasetError, NoImagesError
from training.data.splits import Splits, indices_sha256, split_once
from training.embedding.embed import batches
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.experiments.record import Record, Stage
from training.models.blocknet import BlockNet
from training.models.novelty import REFERENCES
from training.trainer.run import (
    RunSpec,
    begin,
    calibrate_and_save,
    load_record,
    load_run,
    study_temperature,
    train_and_save,
)
from training.workflows import progress
from training.workflows.progress import print_line
from training.workflows.release import (
    DEFAULT,
    ExportOptions,
    ReleaseError,
    TrainedModel,
    build_bundle,
    check_same_classes,
    evaluate_release,
    from_bundle,
    select_experiment,
)


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
        self,
        experiment: Experiment,
        stage: Stage,
        images: Dataset,
        splits: Splits,
        on_step: Callable[[], None] = lambda: None,
        turn: str = "",
    ) -> tuple[BlockNet, Record]:
        """Run an experiment, or take what an earlier run of it left; `turn` says which of many."""
        spec = RunSpec(experiment, images, splits, self.seed, stage, self.device)
        temperature = None
        if stage == "final":
            temperature = study_temperature(spec, self.experiments, self.checkpoints)
        if done := load_run(spec, self.experiments, self.checkpoints):
            print_line(f"{spec.run_id}: already done")
            if temperature is not None and done[1].calibration is None:
                kept = self.experiments, self.checkpoints
                return calibrate_and_save(spec, done, temperature, *kept)
            return done
        if stage == "final" and temperature is None:
            print_line(
                "its study left no temperature and no network to fit one with, so probabilities "
                f"stay uncalibrated; to study it again, remove {self.experiments}/"
                f"{replace(spec, stage='study').run_id}.json",
                style="yellow",
            )
        print_line(f"{turn}{spec.run_id} on {images.name} ({self.device})")
        with progress.track(f"{experiment.name}, seed {spec.seed}", spec.steps) as advance:

            def step() -> None:
                advance()
                on_step()

            network, made = train_and_save(
                spec,
                self.experiments,
                self.checkpoints,
                temperature=temperature,
                stop_if_collapsed=self.stop_if_collapsed,
                on_step=step,
                on_epoch=progress.show_epoch,
            )
        if made.status == "collapsed":
            print_line(
                f"{spec.run_id} learned nothing: its training loss is that of a blind guess",
                style="yellow",
            )
        if made.test:
            print_line(f"{made.status}, test accuracy {made.test.accuracy:.4f}")
        return network, made

    def sweep(
        self,
        experiments: Sequence[Experiment],
        seeds: Sequence[int],
        images: Dataset,
        splits: Splits,
    ) -> Sequence[Record]:
        """Study every experiment with every seed; a run that fails is recorded, the rest goes on.

        What has a record that did not fail is not run again. Returns the record of every run.
        """
        plans = [
            RunSpec(experiment, images, splits, seed, "study", self.device)
            for seed in dict.fromkeys(seeds)
            for experiment in dict.fromkeys(experiments)
        ]
        found = {spec.run_id: load_record(spec, self.experiments) for spec in plans}
        if done := sum(made is not None for made in found.values()):
            print_line(f"{done} of {len(plans)} runs have a record already and are not run again")
        waiting = [spec for spec in plans if found[spec.run_id] is None]
        with progress.track("all runs", sum(spec.steps for spec in waiting)) as advance:
            for number, spec in enumerate(waiting, start=done + 1):
                taken: list[None] = []

                def step(taken: list[None] = taken) -> None:
                    taken.append(None)
                    advance()

                found[spec.run_id] = self._study(spec, step, f"[{number}/{len(plans)}] ")
                advance(spec.steps - len(taken))  # of a run that was given up, or failed
        return [made for made in found.values() if made]

    def _study(self, spec: RunSpec, on_step: Callable[[], None], turn: str) -> Record:
        """The record of one run of a sweep, whatever becomes of it."""
        own = replace(self, seed=spec.seed)
        try:
            images, splits = spec.dataset, spec.splits
            return own.train(spec.experiment, "study", images, splits, on_step, turn)[1]
        except Exception as error:  # whatever it is, the other runs go on
            failed = begin(spec).model_copy(update={"error": repr(error)})
            record.write(failed, self.experiments)
            print_line(f"{spec.run_id} failed: {error!r}", style="red")
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
        shape: ExportOptions,
        own_test: Dataset | None = None,
        experiment: Experiment | None = None,
        epochs: int | None = None,
    ) -> Path:
        """Choose, retrain from a fresh start on train + validation, examine, and publish.

        With `experiment` it is that one, whatever else has been studied; with `epochs` it is
        trained for so many, not for as many as its study.
        """
        writer.require_free(target)
        check_same_classes(images, own_test)
        held_out = indices_sha256(splits.indices("test"))
        records = record.read_all(self.experiments)
        chosen = (
            experiment or select_experiment(records, images.fingerprint, held_out) or find(DEFAULT)
        )
        chosen = chosen.with_epochs(epochs)
        print_line(f"releasing {chosen.name}, {chosen.config.epochs} epochs")
        study = RunSpec(chosen, images, splits, self.seed, "study", self.device)
        if load_record(study, self.experiments) is None:
            self.train(chosen, "study", images, splits)
        network, final = self.train(chosen, "final", images, splits)
        print_line(f"examining {final.run_id}")
        final = evaluate_release(network, final, images, splits, own_test, self.device)
        record.write(final, self.experiments)
        own = [
            one
            for one in record.read_all(self.experiments)
            if one.dataset.fingerprint == images.fingerprint
            and one.dataset.splits["test"] == final.dataset.splits["test"]
        ]
        trained = TrainedModel(network, final, own)
        return self.publish(trained, images, splits, target, shape)

    def publish(
        self,
        trained: TrainedModel,
        images: Dataset,
        splits: Splits,
        target: Path,
        shape: ExportOptions,
    ) -> Path:
        """Embed the held-out images of `images` with a trained network and write the bundle."""
        total = batches(len(splits.test)) + batches(min(REFERENCES, len(splits.train)))
        with progress.track("embedding", total) as on_batch:
            contents = build_bundle(trained, images, splits, self.device, shape, on_batch)
        manifest = writer.write(contents, target)
        print_line(
            f"{manifest.name} {manifest.version}: {manifest.gallery.count} images, "
            f"test accuracy {manifest.metrics.test_accuracy:.4f}"
        )
        return target

    def resolve_bundle(self, data: Path | None, *, download: bool = True) -> Path:
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
            print_line(
                f"{error}. Serving the starter bundle, whose gallery has vectors but no pictures; "
                "for pictures: make serve DATA=FOLDER-OR-ARCHIVE"
            )
            return self.starter
        try:
            starter = from_bundle(bundle.load(self.starter))
            self.publish(starter, images, splits, target, ExportOptions())
        except (BundleError, ReleaseError) as reason:
            print_line(f"Training a network on {images.name}: {reason}")
            self.release(images, splits, target, ExportOptions(), self.read_own_test(data))
        writer.update_current_link(self.current, target)
        return target
