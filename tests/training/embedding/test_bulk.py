"""Embedding images into shards: completely, by several processes, stopped and resumed."""

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
from training.embedding.bulk import Embedder
from training.embedding.job import BulkError, Job, JobStats, ShardSpec
from training.embedding.leases import lease
from training.embedding.shards import ShardError
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet

CPU = torch.device("cpu")
NETWORK = "a" * 16
CLASSES = ("amber", "blue", "cyan")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """Return an untrained network, as no test depends on its accuracy."""
    torch.manual_seed(0)
    network = BlockNet(Architecture(classes=3, conv_blocks=3, batch_norm=True, dropout=0.0))
    return Embedder(network.eval(), CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 30 images of three classes."""
    return write_folder(tmp_path_factory.mktemp("images"), per_class=10, kinds=3)


@pytest.fixture
def job(folder: Path, tmp_path: Path) -> Job:
    """Return a job for all of them, with eight images per shard."""
    return Job(folder, tmp_path / "shards", NETWORK, CLASSES, ("conv2", "logits"), size=8)


def changed(job: Job, **changes: object) -> Job:
    """Return the job with some settings changed."""
    return Job(**{**vars(job), **changes})


def rows(job: Job) -> dict[str, list[object]]:
    """Read all columns of all shards, in order."""
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


def test_the_vectors_are_those_of_the_stored_image(job: Job, embedder: Embedder) -> None:
    bulk.run(job, embedder)
    found = rows(job)
    images = [torch.from_numpy(_pixels(png)).permute(2, 0, 1) for png in found["png"]]
    for layer, vectors in embedder(torch.stack(images), job.layers).items():
        expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert np.array(found[f"vector_{layer}"], np.float32) == pytest.approx(expected, abs=2e-3)


def test_existing_shards_are_not_written_again(job: Job, embedder: Embedder) -> None:
    bulk.run(job, embedder)
    before = {file: file.stat().st_mtime_ns for file in job.folder.iterdir()}
    assert bulk.run(job, embedder) == JobStats(0, 4, 0, 30, ())
    assert {file: file.stat().st_mtime_ns for file in job.folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["truncated", "changed", "emptied"])
def test_a_damaged_shard_is_written_again(damage: str, job: Job, embedder: Embedder) -> None:
    bulk.run(job, embedder)
    file = job.folder / shards.file_name(2)
    whole, before = file.read_bytes(), rows(job)
    middle = len(whole) // 2
    file.write_bytes(
        {
            "truncated": whole[:middle],
            "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "emptied": b"",
        }[damage]
    )
    with pytest.raises(ShardError, match=r"shard-000002\.parquet is damaged"):
        shards.verify(file)
    assert bulk.run(job, embedder) == JobStats(1, 3, 0, 30, ())
    assert rows(job) == before


def test_shard_specs_divide_a_job(job: Job, embedder: Embedder) -> None:
    results = [bulk.run(job, embedder, ShardSpec(index, 3)) for index in (1, 2, 3)]
    assert [(stats.written, stats.skipped) for stats in results] == [(2, 2), (1, 3), (1, 3)]
    assert len(set(map(str, rows(job)["id"]))) == 30


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0"])
def test_an_invalid_shard_spec_is_rejected(text: str) -> None:
    with pytest.raises(BulkError, match="give it as 1/4"):
        ShardSpec.parse(text)
    assert ShardSpec.parse("2/4") == ShardSpec(2, 4)


def test_a_shard_leased_by_another_process_is_skipped(job: Job, embedder: Embedder) -> None:
    bulk.check_job(job)
    with lease(job.folder / shards.file_name(1)) as renew:
        assert renew is not None
        assert bulk.run(job, embedder) == JobStats(3, 0, 1, 22, ())
    assert bulk.run(job, embedder) == JobStats(1, 3, 0, 30, ())


def test_the_shard_of_a_killed_process_is_written_by_another(job: Job, embedder: Embedder) -> None:
    bulk.check_job(job)
    killed = (
        "import os, signal\nfrom pathlib import Path\nfrom training.embedding.leases import lease\n"
        f"with lease(Path({str(job.folder / shards.file_name(1))!r})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed], check=False, timeout=120)
    assert (job.folder / shards.file_name(1)).with_suffix(".claim").exists()
    assert bulk.run(job, embedder) == JobStats(4, 0, 0, 30, ())


def test_a_lease_of_another_machine_holds_until_it_expires(tmp_path: Path) -> None:
    file = tmp_path / "file"
    lease_file = file.with_suffix(".claim")
    lease_file.write_text('{"host": "elsewhere", "process": 1, "token": "x"}')
    with lease(file) as renew:
        assert renew is None
    os.utime(lease_file, (0, 0))
    with lease(file) as renew:
        assert renew is not None
        renew()
    assert not lease_file.exists()


def test_an_interrupted_run_leaves_no_partial_shard(job: Job, embedder: Embedder) -> None:
    def stop_at(count: int) -> Callable[[], None]:
        remaining = iter(range(count))

        def on_image() -> None:
            if next(remaining, None) is None:
                raise KeyboardInterrupt

        return on_image

    with pytest.raises(KeyboardInterrupt):
        bulk.run(job, embedder, on_image=stop_at(20))
    names = sorted(file.name for file in job.folder.iterdir())
    assert names == ["embedding.json", shards.file_name(0), shards.file_name(1)]
    assert bulk.run(job, embedder) == JobStats(2, 2, 0, 30, ())


def test_an_archive_gives_the_same_shards_as_its_folder(
    job: Job, embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    bulk.run(job, embedder)
    tar_file, zip_file = tmp_path / "images.tar.gz", tmp_path / "images.zip"
    files = sorted(folder.rglob("*.png"))
    with tarfile.open(tar_file, "w:gz") as archive:
        for file in files:
            archive.add(file, file.relative_to(folder))
    with zipfile.ZipFile(zip_file, "w") as zipped:
        for file in files:
            zipped.write(file, file.relative_to(folder))
    for source in (tar_file, zip_file):
        again = changed(job, source=source, folder=tmp_path / source.suffix)
        bulk.run(again, embedder)
        assert rows(again) == rows(job)


def test_an_unreadable_image_is_reported_and_the_others_are_embedded(
    embedder: Embedder, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "images", per_class=3, kinds=1)
    (source / "train" / "amber" / "00001.png").write_bytes(b"not an image")
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    stats = bulk.run(job, embedder)
    assert stats.images == 2
    assert len(stats.unreadable) == 1
    assert stats.unreadable[0].startswith("train/amber/00001.png (")
    assert bulk.run(job, embedder).unreadable == stats.unreadable


def test_a_damaged_archive_is_reported_and_its_last_shard_is_not_written(
    job: Job, embedder: Embedder, folder: Path, tmp_path: Path
) -> None:
    tar = tmp_path / "images.tar"
    with tarfile.open(tar, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.add(file, file.relative_to(folder))
    tar.write_bytes(tar.read_bytes()[:-40_000])
    with pytest.raises(BulkError, match="cannot be read"):
        bulk.run(changed(job, source=tar), embedder)
    assert not (job.folder / shards.file_name(3)).exists()


def test_a_shard_of_a_changed_source_is_an_error(embedder: Embedder, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "images", per_class=3, kinds=1)
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    bulk.run(job, embedder)
    write_folder(source, per_class=4, kinds=1)
    with pytest.raises(ShardError, match="the source has changed since"):
        bulk.run(job, embedder)


@pytest.mark.parametrize("changes", [{"network": "b" * 16}, {"size": 9}, {"labelled": False}])
def test_a_folder_holds_shards_of_one_job_only(
    changes: dict[str, object], job: Job, embedder: Embedder
) -> None:
    bulk.check_job(job)
    with pytest.raises(ShardError, match="name another folder"):
        bulk.run(changed(job, **changes), embedder)


def test_images_outside_folders_are_labelled_by_prediction(
    embedder: Embedder, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "images", per_class=2, kinds=1) / "train" / "amber"
    job = Job(source, tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    assert bulk.run(job, embedder).images == 2
    found = rows(job)
    assert found["label"] == found["predicted"]
    assert found["label_predicted"] == [True, True]


def test_a_source_without_images_is_an_error(embedder: Embedder, tmp_path: Path) -> None:
    job = Job(tmp_path / "images", tmp_path / "shards", NETWORK, CLASSES, ("logits",))
    with pytest.raises(BulkError, match="no such file or folder"):
        bulk.run(job, embedder)
    job.source.write_text("no images")
    with pytest.raises(BulkError, match="neither a folder nor"):
        bulk.run(job, embedder)
    job.source.unlink()
    job.source.mkdir()
    with pytest.raises(NoImagesError, match=r"looked for \.avif"):
        bulk.run(job, embedder)


def test_ids_are_safe_for_urls_and_unique_by_path() -> None:
    paths = ["a/b c.png", "a/b-c.png", "a-b/c.png", "ä/ö.png", "x" * 300, ".hidden"]
    ids = [bulk.image_id(path) for path in paths]
    assert len(set(ids)) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", one) for one in ids)
    assert ids == [bulk.image_id(path) for path in paths]


def test_running_on_ray_without_ray_is_an_error(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray_runner, "find_spec", lambda name: None)
    with pytest.raises(BulkError, match="pip install 'ray\\[data\\]'"):
        ray_runner.run(job, ray_runner.WorkerSpec(tmp_path, "cpu"), 1)


def test_ray_writes_the_same_shards(
    job: Job, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from training import bundle

    loaded = bundle.load(bundle_path)
    layers = tuple(loaded.indexes)
    settings = {"classes": loaded.manifest.classes, "layers": layers}
    local = changed(job, **settings, folder=tmp_path / "local")
    on_ray = changed(job, **settings, folder=tmp_path / "ray")
    bulk.run(local, Embedder(loaded.network, CPU))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        assert ray_runner.run(on_ray, ray_runner.WorkerSpec(bundle_path, "cpu"), 1) == JobStats(
            4, 0, 0, 30, ()
        )
    finally:
        ray.shutdown()
    assert rows(on_ray) == rows(local)


def _pixels(png: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from io import BytesIO

    from PIL import Image

    assert isinstance(png, bytes)
    return np.array(Image.open(BytesIO(png)))
