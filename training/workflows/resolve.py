"""Finds the bundle to serve, and builds it if there is none.

Knows bundles and workspaces; nothing of the command line.
"""

from pathlib import Path

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import MANIFEST
from training.data.dataset import DatasetError
from training.workflows.export import ExportOptions
from training.workflows.progress import print_line
from training.workflows.refresh import refresh
from training.workflows.release import ReleaseError, from_bundle
from training.workflows.workspace import Workspace


def resolve_bundle(
    workspace: Workspace, data: Path | None, *, download: bool = True, retrain: bool = False
) -> Path:
    """Return the bundle to serve: an existing one, else one built from data, else the starter.

    If the data has changed since its bundle was built, the gallery is updated. If the starter's
    network fits the data, it is used and nothing is trained.

    Args:
        workspace: with the bundles.
        data: the images. Default: those of the bundle that was built last, else CIFAR-10.
        download: downloads CIFAR-10 if there is nothing else.
        retrain: trains a new network on the data, even if there is a bundle.

    Raises:
        DatasetError: `data` is given and cannot be read.

    """
    if data is None and (workspace.current / MANIFEST).is_file():
        return workspace.current.resolve()
    target = workspace.bundle_of(data)
    if (target / MANIFEST).is_file() and not (retrain and data):
        if data:
            refresh(target, data, workspace.device)
        return target
    try:
        if data is None and not download:
            raise DatasetError("downloading CIFAR-10 is disabled")
        home, images, splits = workspace.open(data)
    except DatasetError as error:
        if data is not None:
            raise
        print_line(
            f"{error}. Serving the starter bundle: its gallery has vectors but no images. "
            "For images: make serve DATA=FOLDER-OR-ARCHIVE"
        )
        return workspace.starter
    try:
        starter = from_bundle(bundle.load(workspace.starter))
        home.publish(starter, images, splits, target, ExportOptions())
    except (BundleError, ReleaseError) as reason:
        print_line(f"training a network on {images.name}: {reason}")
        own_test = None if images.files else home.read_own_test(data)
        home.release(images, splits, target, ExportOptions(), own_test)
    writer.update_current_link(workspace.current, target)
    return target
