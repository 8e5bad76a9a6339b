"""Opens the gallery backend that an address names. Knows addresses; nothing of requests."""

from pathlib import Path

from service.errors import StorageError
from service.gallery.local.gallery import LocalGallery
from service.gallery.milvus.address import MilvusAddress, is_milvus
from service.gallery.protocol import Gallery
from training.bundle import Bundle


def open_gallery(address: str, bundle: Bundle) -> Gallery:
    """Open the gallery at an address: the path of a folder, or the URL of a Milvus.

    Raises:
        StorageError: the gallery cannot be read, or its client library is not installed.
        UnavailableError: the Milvus cannot be reached.

    """
    if is_milvus(address):
        parsed = MilvusAddress.parse(address)
        try:
            from service.gallery.milvus.gallery import MilvusGallery  # noqa: PLC0415  an extra
        except ImportError as error:
            raise StorageError(
                "A gallery on a Milvus needs its client: pip install pymilvus, and milvus-lite for "
                f"one in a file ({error})."
            ) from error
        return MilvusGallery.open(bundle, parsed)
    return LocalGallery.open(bundle, Path(address))
