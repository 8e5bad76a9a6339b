"""Where a gallery is kept, by its address. Knows addresses; nothing of requests."""

from pathlib import Path

import torch

from service.backends import in_memory
from service.errors import StorageError
from service.gallery import Gallery
from service.gallery.local import LocalGallery
from service.gallery.on_device import OnDevice
from service.gallery.place import Place, is_milvus
from service.searching import Searcher
from training.bundle import Bundle


def open_gallery(address: str, bundle: Bundle) -> Gallery:
    """Open the gallery at an address: the path of a folder, or the URL of a Milvus.

    Raises:
        StorageError: what is there cannot be read, or needs what is not installed.
        UnavailableError: the Milvus cannot be reached.

    """
    if is_milvus(address):
        place = Place.parse(address)
        try:
            from service.gallery.milvus import MilvusGallery  # noqa: PLC0415  # where it is asked for
        except ImportError as error:
            raise StorageError(
                "A gallery on a Milvus needs its client: pip install pymilvus, and milvus-lite for "
                f"one in a file ({error})."
            ) from error
        return MilvusGallery.open(bundle, place)
    return LocalGallery.open(bundle, Path(address))


def searcher(gallery: Gallery, device: torch.device) -> Searcher | None:
    """What the engine's worker may ask in the middle of a batch; None where that is a wait.

    On a GPU it looks there, where the network leaves its vectors.
    """
    if not isinstance(gallery, LocalGallery):
        return None
    if device.type == "cuda":
        near = OnDevice(gallery.snapshot, device)
        near.bring()
        return near.search
    return lambda layer, queries, limit: gallery.search(layer, in_memory(queries), limit)
