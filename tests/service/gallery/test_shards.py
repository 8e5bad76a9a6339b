"""What `python -m training embed` leaves is what a gallery takes in."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service import backup
from service.gallery import Wanted
from tests.pictures import write_folder
from tests.service.gallery.homes import HOMES, Open
from training import bulk
from training.bulk import Embedder, Job
from training.bundle import Bundle


@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_shards_are_imported_as_they_are(home: Open, loaded: Bundle, tmp_path: Path) -> None:
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
    gallery = home(loaded, tmp_path)
    try:
        for _ in range(2):  # once more does no harm
            for shard in sorted(job.folder.glob("*.parquet")):
                backup.read(gallery, shard)
        assert (gallery.added, gallery.stale) == (12, 0)
        page = gallery.page(20, wanted=Wanted(source="added"))
        assert {item.label for item in page.items} == {"amber", "blue", "cyan"}
        first = page.items[0].id
        query = gallery.vectors("conv2", [first])
        ((match,),) = gallery.search("conv2", query, 1)
        assert match.item == gallery.get(first)
        assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-3)
        assert gallery.image(first).startswith(b"\x89PNG")
    finally:
        gallery.close()
