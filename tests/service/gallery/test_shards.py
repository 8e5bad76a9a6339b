"""A gallery imports the shards that `python -m training embed` writes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.gallery import backup
from service.gallery.local.gallery import LocalGallery
from service.gallery.types import Filter
from tests.support.galleries import BACKENDS, Open, addition, vectors
from tests.support.images import striped_image, write_folder
from training import bundle
from training.bundle import Bundle
from training.embedding import bulk
from training.embedding.bulk import Embedder
from training.embedding.job import Job


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_shards_of_bulk_embedding_are_imported_as_they_are(
    backend: Open, loaded: Bundle, tmp_path: Path
) -> None:
    images = write_folder(tmp_path / "images", per_class=4, kinds=3, partition="new")
    job = Job(
        source=images,
        folder=tmp_path / "shards",
        network=loaded.network_id,
        classes=loaded.manifest.classes,
        layers=tuple(loaded.indexes),
        size=5,
    )
    bulk.run(job, Embedder(loaded.network, torch.device("cpu")))
    gallery = backend(loaded, tmp_path)
    try:
        for _ in range(2):  # a second import changes nothing
            for shard in sorted(job.folder.glob("*.parquet")):
                backup.read(gallery, shard)
        assert (gallery.added, gallery.outdated_count) == (12, 0)
        page = gallery.snapshot().page(20, filter_=Filter(source="added"))
        assert {item.label for item in page.items} == {"amber", "blue", "cyan"}
        first = page.items[0].id
        query = gallery.snapshot().vectors("conv2", [first])[first]
        ((match,),) = gallery.snapshot().search("conv2", query[None], 1)
        assert match.item == gallery.snapshot().get(first)
        assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-3)
        assert gallery.snapshot().image(first).startswith(b"\x89PNG")
    finally:
        gallery.close()


def test_images_without_labels_stay_without_where_there_are_no_classes(
    unlabelled: tuple[Path, Path], tmp_path: Path
) -> None:
    loaded = bundle.load(unlabelled[1])
    (tmp_path / "images").mkdir()
    for number in range(3):
        image = Image.fromarray(striped_image(number, 1000 + number))
        image.save(tmp_path / "images" / f"{number}.png")
    job = Job(
        source=tmp_path / "images",
        folder=tmp_path / "shards",
        network=loaded.network_id,
        classes=(),
        layers=tuple(loaded.indexes),
    )
    bulk.run(job, Embedder(loaded.network, torch.device("cpu")))
    gallery = LocalGallery.open(loaded, tmp_path / "gallery")
    try:
        for shard in job.folder.glob("*.parquet"):
            backup.read(gallery, shard)
        added = gallery.snapshot().page(20, filter_=Filter(source="added")).items
        assert {(item.label, item.predicted, item.label_predicted) for item in added} == {
            ("", None, True)
        }
        assert len(added) == 3
        backup.write(gallery, tmp_path / "gallery.parquet")
        everything = gallery.snapshot().page(100).items
    finally:
        gallery.close()
    other = LocalGallery.open(loaded, tmp_path / "other")
    try:
        backup.read(other, tmp_path / "gallery.parquet")
        assert other.snapshot().page(100).items == everything
    finally:
        other.close()


@pytest.mark.parametrize(("here", "there"), [("local", "milvus-lite"), ("milvus-lite", "local")])
def test_a_backup_moves_a_gallery_between_backends(
    here: str, there: str, loaded: Bundle, tmp_path: Path
) -> None:
    one, other = (
        BACKENDS[here](loaded, tmp_path / "one"),
        BACKENDS[there](loaded, tmp_path / "other"),
    )
    try:
        one.add([addition(loaded, seed, attributes={"n": seed}) for seed in range(7)]).result()
        one.edit(
            loaded.gallery.ids[0], lambda item: dataclasses.replace(item, label="unicorn")
        ).result()
        backup.write(one, tmp_path / "gallery.parquet")
        backup.read(other, tmp_path / "gallery.parquet")
        items = [gallery.snapshot().page(200).items for gallery in (one, other)]
        assert len(items[0]) == len(loaded.gallery) + 7
        assert items[0] == items[1]
        query = vectors(loaded, 3)["conv2"][None]
        found = [
            gallery.snapshot().search("conv2", query, 5, exact=True) for gallery in (one, other)
        ]
        assert [match.item.id for match in found[0][0]] == [match.item.id for match in found[1][0]]
    finally:
        one.close()
        other.close()
