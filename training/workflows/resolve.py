"""Finds the bundle to serve, and builds it if there is none.

Knows bundles and workspaces; nothing of the command line.
"""

import shutil
from pathlib import Path
from typing import Final

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import MANIFEST
from training.data.dataset import DatasetError
from training.data.source import scan
from training.workflows.existing import up_to_date_bundle
from training.workflows.export import ExportOptions
from training.workflows.progress import print_line
from training.workflows.refresh import refresh
from training.workflows.release import ReleaseError, from_bundle
from training.workflows.workspace import Workspace

BUNDLE_BYTES: Final = 200 * 2**20
BYTES_PER_IMAGE: Final = 64 * 2**10
"""Disk space of a bundle without images, and of an image: vectors, pixels, thumbnail."""


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
    if not retrain and (found := up_to_date_bundle(workspace.root, data)):
        return found
    target = workspace.bundle_of(data)
    if (target / MANIFEST).is_file() and not (retrain and data):
        if data:
            refresh(target, data, workspace.device)
        return target
    if data:
        require_disk(workspace.root, data)
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


def require_disk(root: Path, data: Path) -> None:
    """Check that there is room for a bundle of these images, before the work begins.

    Raises:
        ReleaseError: there is not.

    """
    try:
        source = scan(data.expanduser())
    except OSError:
        return  # reading says what is wrong
    root.mkdir(parents=True, exist_ok=True)
    needed = BUNDLE_BYTES + max(source.files * BYTES_PER_IMAGE, source.bytes)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise ReleaseError(
            f"{free / 2**30:.1f} GiB are free in {root.resolve()}, and a bundle of {data} needs "
            f"about {needed / 2**30:.1f} GiB: free some, or name another folder with --root"
        )
