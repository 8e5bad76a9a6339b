"""Any number of images into shards: whole, shared out, stopped and resumed."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.support.images import write_folder
from training.data.dataset import NoImagesError
from training.embedding import bulk, ray_runner, shards
from training.embedding.bulk import BulkError, Embedder, Job, JobStats, ShardSpec
from training.embedding.leases import lease
from training.embedding.shards import ShardError
from training.models.blocknet import Architecture, BlockNet

CPU = torch.device("cpu")
NETWORK = "a" * 16
CLASSES = ("amber", "blue", "cyan")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """An untrained network: what it makes of images is as good as any other."""
    torch.manual_seed(0)
    network = BlockNet(Architecture(classes=3, conv_blocks=3, batch_norm=True, dropout=0.0))
    return Embedder(network.eval(), CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of three classes."""
    return write_folder(tmp_path_factory.mktemp("images"), per_class=10, kinds=3)


@pytest.fixture
def job(folder: Path, tmp_path: Path) -> Job:
    """All of them, eight to a shard."""
    return Job(folder, tmp_path / "shards", NETWORK, CLASSES, ("conv2", "logits"), size=8)


def other(job: Job, **changes: object) -> Job:
    """The same job but for something."""
    return Job(**{**vars(job), **changes})


def rows(job: Job) -> dict[str, list[object]]:
    """All columns of all shards, in order."""
    files = sorted(job.folder.glob("shard-*.parquet"))
    tables = [pq.read_table(file) for file in files]
    return {
        name: [value for table in tables for value in table[name].to_pylist()]
        for name in tables[0].column_names
        if name != "created_at"
    }


def test_every_image_is_embedded_once(job: Job, embedder: Embedder) -> None:
    assert bulk.run(job, embedder) == JobStats(4, 0, 0, 30, ())
    found = rows(job)
    assert len(set(map(str, found["id"]))) == 30
    assert sorted(map(str, found["label"])) == sorted(["amber", "blue", "cyan"] * 10)
    assert found["label_predicted"] == [False] * 30
    assert set(map(str, found["predicted"])) <= set(CLASSES)


def test_the_vectors_are_those_of_the_picture_kept_beside_them(
    job: Job, embedder: Embedder
) -> None:
    bulk.run(job, embedder)
    found = rows(job)
    images = [torch.from_numpy(_pixels(png)).permute(2, 0, 1) for png in found["png"]]
    for layer, vectors in embedder(torch.stack(images), job.layers).items():
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert np.array(found[f"vector_{layer}"], np.float32) == pytest.approx(expected, abs=2e-3)


def test_what_is_there_is_not_made_again(job: Job, embedder: Embedder) -> None:
    bulk.run(job, embedder)
    before = {file: file.stat().st_mtime_ns for file in job.folder.iterdir()}
    assert bulk.run(job, embedder) == JobStats(0, 4, 0, 30, ())
    assert {file: file.stat().st_mtime_ns for file in job.folder.iterdir()} == before


@pytest.mark.parametrize("harm", ["cut", "changed", "emptied"])
def test_a_damaged_shard_is_made_again(harm: str, job: Job, embedder: Embedder) -> None:
    bulk.run(job, embedder)
    file = job.folder / shards.name(2)
    whole, before = file.read_bytes(), rows(job)
    middle = len(whole) // 2
    file.write_bytes(
        {
            "cut": whole[:middle],
            "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "emptied": b"",
        }[harm]
    )
    with pytest.raises(ShardError, match=r"shard-000002\.parquet is damaged"):
        shards.verify(file)
    assert bulk.run(job, embedder) == JobStats(1, 3, 0, 30, ())
    assert rows(job) == before


def test_shares_are_parts_of_the_whole(job: Job, embedder: Embedder) -> None:
    tallies = [bulk.run(job, embedder, ShardSpec(one, 3)) for one in (1, 2, 3)]
    assert [(stats.made, stats.elsewhere) for stats in tallies] == [(2, 2), (1, 3), (1, 3)]
    assert len(set(map(str, rows(job)["id"]))) == 30


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BulkError, match="give it as 1/4"):
        ShardSpec.parse(text)
    assert ShardSpec.parse("2/4") == ShardSpec(2, 4)


def test_what_another_process_is_at_is_left_to_it(job: Job, embedder: Embedder) -> None:
    bulk.check_job(job)
    with lease(job.folder / shards.name(1)) as held:
        assert held is not None
        assert bulk.run(job, embedder) == JobStats(3, 0, 1, 22, ())
    assert bulk.run(job, embedder) == JobStats(1, 3, 0, 30, ())


def test_a_process_that_was_killed_leaves_its_shard_to_others(job: Job, embedder: Embedder) -> None:
    bulk.check_job(job)
    dying = (
        "import os, signal\nfrom pathlib import Path\nfrom training.embedding.leases import claim\n"
        f"with claim(Path({str(job.folder / shards.name(1))!r})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", dying], check=False, timeout=120)
    assert (job.folder / shards.name(1)).with_suffix(".claim").exists()
    assert bulk.run(job, embedder) == JobStats(4, 0, 0, 30, ())


def test_a_claim_from_another_machine_holds_until_it_is_stale(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    place = thing.with_suffix(".claim")
    place.write_text('{"host": "elsewhere", "process": 1, "token": "x"}')
    with lease(thing) as held:
        assert held is None
    os.utime(place, (0, 0))
    with lease(thing) as held:
        assert held is not None
        held()
    assert not place.exists()


def test_a_run_that_stops_leaves_nothing_half_made(job: Job, embedder: Embedder) -> None:
    def stop_at(count: int) -> Callable[[], None]:
        seen = iter(range(count))

        def on_image() -> None:
            if next(seen, None) is None:
                raise KeyboardInterrupt

        return on_image

    with pytest.raises(KeyboardInterrupt):
        bulk.run(job, embedder, on_image=stop_at(20))
    names = sorted(file.name for file in job.folder.iterdir())
    assert names == ["embedding.json", shards.name(0), shards.name(1)]
    assert bulk.run(job, embedder) == JobStats(2, 2, 0, 30, ())


def test_an_archive_gives_the_same_as_its_folder(
    job: Job, embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    bulk.run(job, embedder)
    tar, packed = tmp_path / "images.tar.gz", tmp_path / "images.zip"
    files = sorted(folder.rglob("*.png"))
    with tarfile.open(tar, "w:gz") as archive:
        for file in files:
            archive.add(file, file.relative_to(folder))
    with zipfile.ZipFile(packed, "w") as zipped:
        for file in files:
            zipped.write(file, file.relative_to(folder))
    for source in (tar, packed):
        again = other(job, source=source, folder=tmp_path / source.suffix)
        bulk.run(again, embedder)
        assert rows(again) == rows(job)


def test_an_image_that_cannot_be_read_is_named_and_the_rest_goes_on(
    embedder: Embedder, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "images", per_class=3, kinds=1)
    (source / "train" / "amber" / "00001.png").write_bytes(b"no picture")
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    stats = bulk.run(job, embedder)
    assert stats.images == 2
    assert len(stats.unreadable) == 1
    assert stats.unreadable[0].startswith("train/amber/00001.png (")
    assert bulk.run(job, embedder).unreadable == stats.unreadable


def test_a_damaged_archive_is_said_and_its_last_shard_is_not_made(
    job: Job, embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    tar = tmp_path / "images.tar"
    with tarfile.open(tar, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.add(file, file.relative_to(folder))
    tar.write_bytes(tar.read_bytes()[:-40_000])
    with pytest.raises(BulkError, match="cannot be read"):
        bulk.run(other(job, source=tar), embedder)
    assert not (job.folder / shards.name(3)).exists()


def test_images_that_came_since_are_not_mixed_with_those_before(
    embedder: Embedder, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "images", per_class=3, kinds=1)
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    bulk.run(job, embedder)
    write_folder(source, per_class=4, kinds=1)
    with pytest.raises(ShardError, match="the source has changed since"):
        bulk.run(job, embedder)


@pytest.mark.parametrize("changes", [{"network": "b" * 16}, {"size": 9}, {"labelled": False}])
def test_a_folder_holds_shards_of_one_kind(
    changes: dict[str, object], job: Job, embedder: Embedder
) -> None:
    bulk.check_job(job)
    with pytest.raises(ShardError, match="name another folder"):
        bulk.run(other(job, **changes), embedder)


def test_images_without_folders_have_no_labels(embedder: Embedder, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "images", per_class=2, kinds=1) / "train" / "amber"
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    assert bulk.run(job, embedder).images == 2
    found = rows(job)
    assert found["label"] == found["predicted"]
    assert found["label_predicted"] == [True, True]


def test_nothing_to_embed_is_said(embedder: Embedder, tmp_path: Path) -> None:
    job = Job(tmp_path / "images", tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    with pytest.raises(BulkError, match="there is no such file or folder"):
        bulk.run(job, embedder)
    job.source.write_text("no images")
    with pytest.raises(BulkError, match="neither a folder nor"):
        bulk.run(job, embedder)
    job.source.unlink()
    job.source.mkdir()
    with pytest.raises(NoImagesError, match=r"looked for \.avif"):
        bulk.run(job, embedder)


def test_ids_are_fit_for_a_url_and_differ_where_paths_do() -> None:
    paths = ["a/b c.png", "a/b-c.png", "a-b/c.png", "ä/ö.png", "x" * 300, ".hidden"]
    ids = [bulk.identify(path) for path in paths]
    assert len(set(ids)) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", one) for one in ids)
    assert ids == [bulk.identify(path) for path in paths]


def test_ray_is_only_missed_where_it_is_asked_for(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_runner, "find_spec", lambda name: None)
    with pytest.raises(BulkError, match="pip install 'ray\\[data\\]'"):
        ray_runner.run(job, ray_runner.WorkerSpec(tmp_path, "cpu"), 1)


def test_ray_makes_the_same_shards(
    job: Job, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from training import bundle

    loaded = bundle.load(bundle_path)
    layers = tuple(loaded.indexes)
    known = {"classes": loaded.manifest.classes, "layers": layers}
    alone = other(job, **known, folder=tmp_path / "alone")
    together = other(job, **known, folder=tmp_path / "together")
    bulk.run(alone, Embedder(loaded.network, CPU))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        assert ray_runner.run(together, ray_runner.WorkerSpec(bundle_path, "cpu"), 1) == JobStats(
            4, 0, 0, 30, ()
        )
    finally:
        ray.shutdown()
    assert rows(together) == rows(alone)


def _pixels(png: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from io import BytesIO

    from PIL import Image

    assert isinstance(png, bytes)
    return np.array(Image.open(BytesIO(png)))
