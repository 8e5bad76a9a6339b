"""Finds the bundle to serve, and builds it if there is none.

Knows bundles and workspaces; nothing of the command line.
"""

import shutil
from pathlib import Path
from typing import Final

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import MANIFEST
from training.data.dataset import Dataset, DatasetError, NoClassesError
from training.data.preprocessing import SIZE
from training.data.source import scan
from training.data.splits import Splits
from training.experiments.catalogue import PRETRAINED
from training.workflows.choice import choose
from training.workflows.existing import is_network, up_to_date_bundle
from training.workflows.export import ExportOptions
from training.workflows.progress import print_line
from training.workflows.refresh import refresh
from training.workflows.release import ReleaseError, from_bundle
from training.workflows.workspace import Workspace

DEFAULT_OPTIONS: Final = ExportOptions()
BUNDLE_BYTES: Final = 200 * 2**20
BYTES_PER_IMAGE: Final = 64 * 2**10
"""Disk space of a bundle without images, and of an image: vectors, pixels, thumbnail."""


def resolve_bundle(
    workspace: Workspace,
    data: Path | None,
    *,
    download: bool = True,
    retrain: bool = False,
    network: str | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
) -> Path:
    """Return the bundle to serve: an existing one, else one built from data, else the starter.

    If the data has changed since its bundle was built, the gallery is updated. CIFAR-10 takes the
    starter's network, if that held out its test split. Own images take the network that
    `choice.choose` names; without classes, the pretrained one as it is.

    Args:
        workspace: with the bundles.
        data: the images. Default: those of the bundle that was built last, else CIFAR-10.
        download: downloads CIFAR-10 if there is nothing else.
        retrain: trains a new network on the data, even if there is a bundle.
        network: the experiment to train on `data`; a bundle of another is built again.
        options: what goes into a new bundle.

    Raises:
        NoClassesError: `data` has no classes, which the experiment `network` needs.
        DatasetError: `data` is given and cannot be read.
        UnknownExperimentError: no experiment has the name `network`.
        WeightsError: it needs pretrained weights, which are not there.

    """
    if not retrain and (found := up_to_date_bundle(workspace.root, data, network)):
        return found
    target = workspace.bundle_of(data)
    exists = (target / MANIFEST).is_file() and is_network(target, network)
    if exists and not (retrain and data):
        if data:
            refresh(target, data, workspace.device)
        return target
    choice = choose(network) if data else None
    side = choice.experiment.variant.side if choice else SIZE
    if data:
        require_disk(workspace.root, data, side)
    try:
        if data is None and not download:
            raise DatasetError("downloading CIFAR-10 is disabled")
        home, images, splits = workspace.open(data, side)
    except NoClassesError as error:
        if data is None or network not in (None, PRETRAINED.name):
            raise
        print_line(f"no classes found: a gallery without training. {error}")
        workspace.publish_without_classes(data, target, options)
        writer.update_current_link(workspace.current, target)
        return target
    except DatasetError as error:
        if data is not None:
            raise
        print_line(
            f"{error}. Serving the starter bundle: its gallery has vectors but no images. "
            "For images: make serve DATA=FOLDER-OR-ARCHIVE"
        )
        return workspace.starter
    if images.files is None and network is None:
        _build_cifar10(home, data, images, splits, target, options)
    elif choice:
        chosen = choice.for_images(len(splits.train))
        print_line(f"network: {chosen.name}, {choice.reason}. To name another: NETWORK=NAME")
        home.release(images, splits, target, options, experiment=chosen)
    writer.update_current_link(workspace.current, target)
    return target


def _build_cifar10(
    home: Workspace,
    data: Path | None,
    images: Dataset,
    splits: Splits,
    target: Path,
    options: ExportOptions,
) -> None:
    """Build a bundle of CIFAR-10 with the starter's network, if it was not trained on the test."""
    try:
        starter = from_bundle(bundle.load(home.starter))
        home.publish(starter, images, splits, target, options)
    except (BundleError, ReleaseError) as reason:
        print_line(f"training a network on {images.name}: {reason}")
        home.release(images, splits, target, options, home.read_own_test(data))


def require_disk(root: Path, data: Path, side: int = SIZE) -> None:
    """Check that there is room for a bundle of these images, before the work begins.

    Raises:
        ReleaseError: there is not.

    """
    try:
        source = scan(data.expanduser())
    except OSError:
        return  # reading says what is wrong
    root.mkdir(parents=True, exist_ok=True)
    per_image = BYTES_PER_IMAGE + 3 * side**2
    needed = BUNDLE_BYTES + max(source.files * per_image, source.bytes)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise ReleaseError(
            f"{free / 2**30:.1f} GiB are free in {root.resolve()}, and a bundle of {data} needs "
            f"about {needed / 2**30:.1f} GiB: free some, or name another folder with --root"
        )
