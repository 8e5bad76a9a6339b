"""Opens the gallery backend that an address names. Knows addresses; nothing of requests."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Final

from service.errors import StorageError
from service.gallery.local.gallery import LocalGallery
from service.gallery.local.store import Store
from service.gallery.milvus.address import MilvusAddress, is_milvus
from service.gallery.protocol import Gallery
from service.gallery.types import Filter
from training.bundle import Bundle

logger = logging.getLogger(__name__)

GALLERIES: Final = Path("gallery")
"""The folder in which each data set has a gallery of its own. Until 0.2.0, all shared it."""
CHECKED: Final = 1000
"""Added images whose classes are compared with those of the bundle, when a gallery is opened."""
SHOWN_CLASSES: Final = 5


def open_gallery(address: str | None, bundle: Bundle) -> Gallery:
    """Open the gallery at an address: the path of a folder, or the URL of a Milvus.

    Without an address, open the folder of the bundle's data set. If the images were added beside
    other classes, log a warning.

    Raises:
        StorageError: the gallery cannot be read, or its client library is not installed.
        UnavailableError: the Milvus cannot be reached.

    """
    opened = _open(address, bundle)
    try:
        _warn_of_other_classes(opened, address, bundle)
    except BaseException:
        opened.close()
        raise
    return opened


def rebind_gallery(gallery: Gallery, address: str | None, bundle: Bundle) -> Gallery:
    """Return the gallery at an address for another bundle. The storage is shared if it is the same.

    Raises: as `open_gallery`.
    """
    if address is None and isinstance(gallery, LocalGallery):
        same = gallery.folder == default_folder(bundle)
        return gallery.rebind(bundle) if same else open_gallery(None, bundle)
    _warn_of_other_classes(gallery, address, bundle)
    return gallery.rebind(bundle)


def default_folder(bundle: Bundle) -> Path:
    """Return the folder for the additions to a bundle's data set.

    A gallery that version 0.2.0 left is used if its images were added beside the bundle's classes.
    """
    own = GALLERIES / bundle.manifest.data_key
    with closing(Store(GALLERIES)) as shared:
        if not shared.exists:
            return own
        others = shared.predicted() - {*bundle.manifest.classes}
    if not others:
        return GALLERIES
    logger.warning(
        "The images in %s were added beside other classes (%s), so they are not shown, and %s is "
        "used. To show them: KINDRED_GALLERY=%s.",
        *(GALLERIES, _some(others), own, GALLERIES),
    )
    return own


def _open(address: str | None, bundle: Bundle) -> Gallery:
    if address is None:
        return LocalGallery.open(bundle, default_folder(bundle))
    if not is_milvus(address):
        return LocalGallery.open(bundle, Path(address))
    parsed = MilvusAddress.parse(address)
    try:
        from service.gallery.milvus.gallery import MilvusGallery  # noqa: PLC0415  an extra
    except ImportError as error:
        raise StorageError(
            "A gallery on a Milvus needs its client: pip install pymilvus, and milvus-lite for "
            f"one in a file ({error})."
        ) from error
    return MilvusGallery.open(bundle, parsed)


def _warn_of_other_classes(gallery: Gallery, address: str | None, bundle: Bundle) -> None:
    page = gallery.snapshot().page(CHECKED, filter_=Filter(source="added"))
    predicted = {item.predicted for item in page.items if item.predicted is not None}
    if others := predicted - {*bundle.manifest.classes}:
        logger.warning(
            "The gallery %s has images that were added beside other classes (%s). They are "
            "embedded again with this network, and keep the labels that they were given. For a "
            "gallery of its own, set another KINDRED_GALLERY.",
            *(gallery.folder if isinstance(gallery, LocalGallery) else address, _some(others)),
        )


def _some(classes: set[str]) -> str:
    shown = ", ".join(sorted(classes)[:SHOWN_CLASSES])
    return shown if len(classes) <= SHOWN_CLASSES else f"{shown}, ..."
