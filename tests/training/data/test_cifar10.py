"""CIFAR-10's original batches: downloading, verifying, reading."""

import shutil
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import Batches, Site
from training.data import cifar10
from training.data.cifar10 import reader_class
from training.data.dataset import Dataset, DatasetError, download, load
from training.data.preprocessing import Pixels


def as_pixels(dataset: Dataset) -> Pixels:
    return dataset.images.permute(0, 2, 3, 1).numpy()


def unserved_url() -> str:
    """Return a URL on this machine where no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/cifar-10-python.tar.gz"


def test_a_download_gives_the_images_of_the_batches(
    batches: Batches, site: Site, tmp_path: Path
) -> None:
    shutil.copy(batches.archive, site.folder)
    dataset = download(tmp_path / "data")
    assert np.array_equal(as_pixels(dataset), batches.train)
    assert dataset.labels.tolist() == batches.labels * 5
    assert (dataset.name, dataset.classes) == ("cifar10", cifar10.CLASSES)


def test_a_second_download_sends_no_request(batches: Batches, site: Site, tmp_path: Path) -> None:
    shutil.copy(batches.archive, site.folder)
    first = download(tmp_path / "data")
    site.requests.clear()
    assert download(tmp_path / "data").fingerprint == first.fingerprint
    assert site.requests == []


def test_an_existing_archive_is_extracted_without_a_request(
    batches: Batches, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(batches.archive, tmp_path / "data")
    assert len(download(tmp_path / "data")) == len(batches.train)
    assert site.requests == []


def test_the_test_partition_can_be_downloaded(batches: Batches, site: Site, tmp_path: Path) -> None:
    shutil.copy(batches.archive, site.folder)
    assert np.array_equal(as_pixels(download(tmp_path / "data", "test")), batches.test)


def test_a_refused_connection_is_reported_with_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = unserved_url()
    monkeypatch.setattr(reader_class(), "url", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DatasetError, match=f"cannot be downloaded from {url}.*refused"):
        download(tmp_path / "data")


def test_a_site_that_does_not_respond_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "CONNECT_TIMEOUT", 0.1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar-10-python.tar.gz"
        monkeypatch.setattr(reader_class(), "url", url)
        with pytest.raises(DatasetError, match="cannot be downloaded"):
            download(tmp_path / "data")


def test_the_connect_timeout_is_at_most_ten_seconds() -> None:
    assert cifar10.CONNECT_TIMEOUT <= 10


def test_an_invalid_url_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_class(), "url", "nonsense")
    with pytest.raises(DatasetError, match="cannot be downloaded from nonsense: unknown url"):
        download(tmp_path / "data")


def test_a_missing_archive_is_reported_with_its_status(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="404"):
        download(tmp_path / "data")


def test_an_unfinished_download_fails_as_fast_as_a_new_one(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / "data" / batches.folder.name
    shutil.copytree(batches.folder, unfinished)
    (unfinished / "test_batch").unlink()
    monkeypatch.setattr(reader_class(), "url", unserved_url())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DatasetError, match="cannot be downloaded from"):
        download(tmp_path / "data")


def test_a_damaged_download_is_rejected(batches: Batches, site: Site, tmp_path: Path) -> None:
    damaged = batches.archive.read_bytes()[:-100] + bytes(100)
    (site.folder / batches.archive.name).write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"could not be downloaded .*corrupted"):
        download(tmp_path / "data")


def test_a_download_restores_the_default_socket_timeout(
    batches: Batches, site: Site, tmp_path: Path
) -> None:
    shutil.copy(batches.archive, site.folder)
    before = socket.getdefaulttimeout()
    download(tmp_path / "data")
    assert socket.getdefaulttimeout() == before


def test_the_batches_are_read_from_their_folder(batches: Batches) -> None:
    assert np.array_equal(as_pixels(load(batches.folder)), batches.train)


def test_the_batches_are_found_in_a_subfolder(batches: Batches) -> None:
    assert np.array_equal(as_pixels(load(batches.folder.parent)), batches.train)


def test_the_batches_are_read_from_their_archive(batches: Batches) -> None:
    assert np.array_equal(as_pixels(load(batches.archive)), batches.train)


def test_the_batches_are_read_from_a_zip_archive(batches: Batches, tmp_path: Path) -> None:
    file = tmp_path / "batches.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for batch in batches.folder.iterdir():
            archive.write(batch, f"deeper/{batch.name}")
    assert np.array_equal(as_pixels(load(file)), batches.train)


def test_the_test_batch_is_the_test_partition(batches: Batches) -> None:
    dataset = load(batches.folder, "test")
    assert np.array_equal(as_pixels(dataset), batches.test)
    assert dataset.ids[3] == "cifar10-test-00003"


def test_ids_are_positions_in_the_original_batches(batches: Batches) -> None:
    ids = load(batches.folder).ids
    assert ids == tuple(f"cifar10-train-{position:05d}" for position in range(50))


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_batch_is_named(name: str, batches: Batches) -> None:
    file = batches.folder / name
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DatasetError, match=f"do not verify: {name} missing or damaged"):
        load(batches.folder)


def test_a_missing_batch_is_named(batches: Batches) -> None:
    (batches.folder / "data_batch_4").unlink()
    with pytest.raises(DatasetError, match="do not verify: data_batch_4 missing"):
        load(batches.folder)


def test_a_batch_that_an_archive_lacks_is_named(batches: Batches, tmp_path: Path) -> None:
    file = tmp_path / "short.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(batches.folder / "data_batch_1", "data_batch_1")
    with pytest.raises(DatasetError, match=r"short\.tar.*data_batch_2, data_batch_3"):
        load(file)
