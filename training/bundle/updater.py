"""Write a bundle with another gallery; the network, its records and its metrics stay.

Works on folders and files; must not know how images are read or embedded.
"""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from training.bundle import writer
from training.bundle.loader import Bundle, Gallery
from training.bundle.manifest import (
    CARD,
    GALLERY,
    INDEXES,
    MANIFEST,
    MAPS,
    PIXELS,
    THUMBNAILS,
    Manifest,
    dump,
)
from training.bundle.model_card import model_card
from training.bundle.writer import Maps
from training.data.source import Source
from training.index.cosine import CosineIndex
from training.index.maps import LayerMap
from training.index.tuning import Quality
from training.models.layers import Layer

REPLACED = {CARD, GALLERY, INDEXES, MANIFEST, MAPS, PIXELS, THUMBNAILS}


def write_source(old: Bundle, source: Source) -> None:
    """Record the state of the folder or archive that the images are from; nothing else changes."""
    temporary = old.path / f".{MANIFEST}"
    dump(old.manifest.model_copy(update={"source": source}), temporary)
    temporary.replace(old.path / MANIFEST)


def write_update(
    old: Bundle,
    gallery: Gallery,
    indexes: Mapping[Layer, CosineIndex],
    qualities: Mapping[Layer, Quality],
    source: Source | None,
    fingerprint: str,
    places: Mapping[Layer, LayerMap],
) -> Manifest:
    """Replace a bundle by one with another gallery and its indexes.

    Args:
        old: the bundle to replace.
        gallery: all images, those that stay too.
        indexes: of the gallery.
        qualities: of the indexes.
        source: the state of the folder or archive that the images are from.
        fingerprint: of the images.
        places: the maps of the gallery, if the bundle has maps.

    """
    maps = Maps(places, old.map_metadata) if places else None

    def write_files(folder: Path) -> Manifest:
        for name in old.manifest.files:
            if name not in REPLACED and not name.endswith(".faiss"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(old.path / name, folder / name)
        writer.write_gallery(gallery, folder)
        writer.write_indexes(indexes, qualities, gallery, folder, maps)
        return writer.finish(manifest, card, folder)

    before = old.manifest
    manifest = before.model_copy(
        update={
            "format_version": 2,
            "created_at": datetime.now(UTC),
            "source": source,
            "dataset": before.dataset.model_copy(update={"gallery_fingerprint": fingerprint}),
            "gallery": before.gallery.model_copy(
                update={"count": len(gallery), "thumbnails": gallery.thumbnails is not None}
            ),
        }
    )
    final = next((one for one in old.records if one.run_id == before.run_id), None)

    def card(written: Manifest) -> str:
        return model_card(written, dict(qualities), final, old.architecture)

    return writer.replace_folder(old.path, write_files)
