"""Where a gallery is kept, by its address. Knows addresses; nothing of requests."""

from pathlib import Path

from service.gallery import Gallery
from service.gallery.local import LocalGallery
from training.bundle import Bundle


def open_gallery(address: str, bundle: Bundle) -> Gallery:
    """Open the gallery at an address: the path of a folder.

    Raises:
        StorageError: what is there cannot be read.

    """
    return LocalGallery.open(bundle, Path(address))
