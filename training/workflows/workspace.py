"""The long steps of the command line, with their progress: read, train, release, publish.

A workspace is a folder with `experiments/`, `checkpoints/`, `bundles/`, `data/` and `starter/`.
Records and networks of own images are in `workspaces/`, in a folder for each data set. A run or
bundle that exists is loaded, not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from training.bundle import writer
from training.data import dataset
from training.data.dataset import Dataset, DatasetError, NoImagesError
from training.data.preprocessing import SIZE
from training.data.source import key_of
from training.data.splits import Splits, describe, indices_sha256, split_once
from training.embedding.embed import batch_count
from training.experiments import record
from training.experiments.catalogue import PRETRAINED, find
from training.experiments.config import Experiment
from training.experiments.record import Record, Stage
from training.models import weights
from training.models.network import Network
from training.models.novelty import REFERENCES
from training.models.weights import WeightsError
from training.trainer.evaluation import predict
from training.trainer.run import RunSpec, calibrate, initial_record, run
from training.trainer.run_store import RunStore
from training.workflows import progress
from training.workflows.choice import BODY
from training.workflows.export import ExportOptions, build_bundle, build_without_classes
from training.workflows.progress import Advance, print_line
from training.workflows.release import (
    DEFAULT,
    TrainedModel,
    check_same_classes,
    evaluate_release,
    select_experiment,
)


def require_side(experiment: Experiment, images: Dataset) -> None:
    """Check that the images have the size that the network sees.

    Raises:
        DatasetError: they have another.

    """
    side = experiment.variant.side
    if images.side != side:
        raise DatasetError(
            f"{experiment.name} sees images of {side} x {side} pixels, and those of {images.name} "
            f"have {images.side} x {images.side}: choose another network"
        )


@dataclass(frozen=True)
class Workspace:
    """The folder that the steps read and write, their device and their seeds.

    With `stop_if_collapsed`, a run that does not learn is stopped early. With `strict`, an image
    that cannot be read is an error. `home` has records and networks. Default: the root.
    """

    root: Path
    device: torch.device
    seed: int = 0
    split_seed: int = 0
    stop_if_collapsed: bool = False
    strict: bool = False
    home: Path | None = None

    @property
    def experiments(self) -> Path:
        """Folder of run records; its subfolder `splits` has the data splits."""
        return (self.home or self.root) / "experiments"

    @property
    def checkpoints(self) -> Path:
        """Folder of trained networks."""
        return (self.home or self.root) / "checkpoints"

    def of(self, images: Dataset) -> "Workspace":
        """Return the workspace with the records of this data; CIFAR-10's are in the root."""
        if images.files is None or images.source is None:
            return self
        return replace(self, home=self.home_of(images.source.key))

    def home_of(self, key: str) -> Path:
        """Return the folder with the records and networks of own images."""
        return self.root / "workspaces" / key

    @property
    def store(self) -> RunStore:
        """Saves and loads the records and networks of runs."""
        return RunStore(self.experiments, self.checkpoints)

    @property
    def current(self) -> Path:
        """Link to the latest bundle."""
        return self.root / "bundles" / "current"

    @property
    def starter(self) -> Path:
        """The bundle in the repository; its gallery has no pixels."""
        return self.root / "starter"

    def home_for(self, data: Path | None) -> Path:
        """Return the folder with the records of this data, without reading it."""
        own = self.home_of(key_of(data)) if data else self.root
        return own if own.exists() else self.root

    def bundle_of(self, data: Path | None) -> Path:
        """Return the folder for a bundle of this data, with a hash of the data's path."""
        if data is None:
            return self.current.with_name("cifar10")
        return self.current.with_name(key_of(data))

    def read(self, data: Path | None, side: int = SIZE) -> tuple[Dataset, Splits]:
        """Load the data, or download CIFAR-10 if it is None, and split it.

        The split is saved, and loaded from then on. What is left out is printed. Own images are
        resized to `side`; CIFAR-10's stay as they are.

        Raises:
            NoClassesError: the data has images, but not two classes of them.
            DatasetError: the data is missing, or has too few images to split.

        """
        images = self._load(data, side) if data else dataset.download(self.root / "data")
        home = self.of(images)
        splits = split_once(images, self.split_seed, home.experiments / "splits")
        if images.files:
            print_line(
                f"{images.name}: {len(images):,} images of {len(images.classes)} classes, "
                f"{describe(images, splits)}"
            )
        return images, splits

    def _load(self, data: Path, side: int, *, labelled: bool = True) -> Dataset:
        with progress.track(f"reading {data.name}") as on_image:
            images = dataset.load(
                data, on_image=on_image, strict=self.strict, side=side, labelled=labelled
            )
        self.of(images)._print_left_out(images)
        return images

    def open(self, data: Path | None, side: int = SIZE) -> tuple["Workspace", Dataset, Splits]:
        """Read the data; return it with the workspace that has its records."""
        images, splits = self.read(data, side)
        return self.of(images), images, splits

    def _print_left_out(self, images: Dataset) -> None:
        """Print the notes of reading, and write the list of images that cannot be read."""
        if images.files is None:
            return
        for note in images.files.notes:
            print_line(note, style="yellow")
        file = (self.home or self.root) / "unreadable.txt"
        file.unlink(missing_ok=True)
        if unreadable := images.files.unreadable:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{line}\n" for line in unreadable), encoding="utf-8")
            count, total = len(unreadable), len(images) + len(unreadable)
            print_line(
                f"{count:,} of {total:,} images cannot be read and are left out, all named in "
                f"{file}: {unreadable[0]}{'; ...' if count > 1 else ''}",
                style="yellow",
            )

    def spec(
        self, experiment: Experiment, stage: Stage, images: Dataset, splits: Splits
    ) -> RunSpec:
        """Describe a run of this experiment with the workspace's seed and device.

        Raises:
            DatasetError: the network sees images of another size.

        """
        require_side(experiment, images)
        return RunSpec(experiment, images, splits, self.seed, stage, self.device)

    def train_or_load(self, spec: RunSpec) -> tuple[Network, Record]:
        """Return the network and the record of a run; train it if it is not in the store.

        Raises:
            DivergedError: the training loss became infinite or not a number.

        """
        loaded = self.store.load(spec)
        if loaded is None:
            return self._train(spec)
        print_line(f"{spec.run_id}: already done")
        network, made = loaded
        if spec.stage == "final" and made.calibration is None:
            temperature = self.store.study_temperature(spec)
            if temperature is not None:  # a run older than calibration
                test = spec.part("test")
                logits = predict(network.to(spec.device), test)
                made = calibrate(network, made, logits, test.labels, temperature)
                self.store.save(network, made)
        return network, made

    def sweep(
        self,
        experiments: Sequence[Experiment],
        seeds: Sequence[int],
        images: Dataset,
        splits: Splits,
    ) -> Sequence[Record]:
        """Train every experiment with every seed and return the records of all runs.

        A run that has a record is not run again, unless it failed. If a run fails, its record has
        the error and the other runs continue.
        """
        for experiment in experiments:
            require_side(experiment, images)
        specs = [
            RunSpec(experiment, images, splits, seed, "study", self.device)
            for seed in dict.fromkeys(seeds)
            for experiment in dict.fromkeys(experiments)
        ]
        records = {spec.run_id: self.store.load_record(spec) for spec in specs}
        waiting = [spec for spec in specs if records[spec.run_id] is None]
        if done := len(specs) - len(waiting):
            print_line(f"{done} of {len(specs)} runs have a record and are not run again")
        with progress.track("all runs", sum(spec.steps for spec in waiting)) as advance:
            for number, spec in enumerate(waiting, start=done + 1):
                label = f"[{number}/{len(specs)}] "
                records[spec.run_id] = self._study(spec, advance, label)
        return [made for made in records.values() if made]

    def _study(self, spec: RunSpec, parent: Advance, label: str) -> Record:
        """Train one run of a sweep and return its record, even if it fails."""
        try:
            return self._train(spec, parent, label)[1]
        except Exception as error:  # after any error, the other runs continue
            failed = initial_record(spec).model_copy(update={"error": repr(error)})
            record.write(failed, self.experiments)
            print_line(f"{spec.run_id} failed: {error!r}", style="red")
            return failed

    def _train(
        self, spec: RunSpec, parent: Advance | None = None, label: str = ""
    ) -> tuple[Network, Record]:
        temperature = self.store.study_temperature(spec) if spec.stage == "final" else None
        if spec.stage == "final" and temperature is None:
            print_line(
                "its study has neither a temperature nor a network to fit one with, so the "
                "probabilities stay uncalibrated; to train the study again, remove "
                f"{self.experiments}/{replace(spec, stage='study').run_id}.json",
                style="yellow",
            )
        teacher = self.train_or_load(spec.teacher) if spec.teacher else None
        print_line(f"{label}{spec.run_id} on {spec.dataset.name} ({spec.device})")
        description = f"{spec.experiment.name}, seed {spec.seed}"
        with progress.track(description, spec.steps, parent) as advance:
            network, made = run(
                spec,
                temperature=temperature,
                teacher=teacher,
                stop_if_collapsed=self.stop_if_collapsed,
                on_step=advance,
                on_epoch=progress.show_epoch,
                resume=self.store.resume(spec),
            )
        self.store.save(network, made)
        if made.status == "collapsed":
            print_line(
                f"{spec.run_id} learned nothing: its training loss is at chance level",
                style="yellow",
            )
        if made.test:
            print_line(f"{made.status}, test accuracy {made.test.accuracy:.4f}")
        return network, made

    def read_own_test(self, data: Path | None) -> Dataset | None:
        """Load the test images that the data set itself provides, or None if it has none."""
        if data is None:
            return dataset.download(self.root / "data", "test")
        try:
            with progress.track(f"reading {data.name}, its own test images") as on_image:
                return dataset.load(data, "test", on_image, strict=True)
        except NoImagesError:
            return None

    def release(
        self,
        images: Dataset,
        splits: Splits,
        target: Path,
        options: ExportOptions,
        own_test: Dataset | None = None,
        experiment: Experiment | None = None,
        epochs: int | None = None,
    ) -> Path:
        """Choose an experiment, train it on train and validation, evaluate and publish it.

        Args:
            images: the data set.
            splits: its split.
            target: folder of the new bundle.
            options: what goes into the bundle.
            own_test: the test images that the data set itself provides.
            experiment: the experiment. Default: the best one of the studies.
            epochs: epochs of training. Default: those of the experiment.

        Raises:
            BundleError: `target` exists and is not a bundle.
            ReleaseError: the data set's own test images have other classes.

        """
        writer.require_replaceable(target)
        check_same_classes(images, own_test)
        held_out = indices_sha256(splits.indices("test"))
        records = record.read_all(self.experiments)
        chosen = (
            experiment or select_experiment(records, images.fingerprint, held_out) or find(DEFAULT)
        )
        chosen = chosen.with_epochs(epochs)
        print_line(f"releasing {chosen.name}, {chosen.config.epochs} epochs")
        study = self.spec(chosen, "study", images, splits)
        if self.store.load_record(study) is None:
            self.train_or_load(study)
        network, final = self.train_or_load(replace(study, stage="final"))
        print_line(f"evaluating {final.run_id}")
        final = evaluate_release(network, final, images, splits, own_test, self.device)
        record.write(final, self.experiments)
        own = [
            one
            for one in record.read_all(self.experiments)
            if one.dataset.fingerprint == images.fingerprint
            and one.dataset.splits["test"] == final.dataset.splits["test"]
        ]
        trained = TrainedModel(network, final, own)
        return self.publish(trained, images, splits, target, options)

    def publish(
        self,
        trained: TrainedModel,
        images: Dataset,
        splits: Splits,
        target: Path,
        options: ExportOptions,
    ) -> Path:
        """Embed the gallery with a trained network and write the bundle to `target`.

        Raises:
            BundleError: `target` exists and is not a bundle.
            ReleaseError: the network may have been trained on the test split.

        """
        searched = batch_count(len(options.searched(images, splits)))
        total = searched + batch_count(min(REFERENCES, len(splits.train)))
        with progress.track("embedding", total) as on_batch:
            contents = build_bundle(trained, images, splits, self.device, options, on_batch)
        manifest = writer.write(contents, target)
        assert manifest.metrics  # noqa: S101  the network was tested
        print_line(
            f"{manifest.name} {manifest.version}: {manifest.gallery.count} images, "
            f"test accuracy {manifest.metrics.test_accuracy:.4f}"
        )
        return target

    def publish_without_classes(self, data: Path, target: Path, options: ExportOptions) -> Path:
        """Embed all images of the data by a pretrained network as it is, and write the bundle.

        Raises:
            WeightsError: the pretrained weights are not there.
            DatasetError: the data is missing or damaged, or none of its images can be read.
            BundleError: `target` exists and is not a bundle.

        """
        try:
            weights.require(BODY)
        except WeightsError as error:
            raise WeightsError(
                f"a gallery without classes needs a pretrained network, but {error}"
            ) from error
        images = self._load(data, PRETRAINED.variant.side, labelled=False)
        with progress.track("embedding", len(images)) as on_image:
            contents = build_without_classes(images, self.device, options, on_image)
        manifest = writer.write(contents, target)
        print_line(f"{manifest.name} {manifest.version}: {manifest.gallery.count:,} images")
        return target
