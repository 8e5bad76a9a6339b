"""Fixtures: a small replacement of CIFAR-10's original batches, and a site that serves them."""

import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from training.data.cifar10 import CLASSES, reader_class
from training.data.preprocessing import Pixels
from training.trainer import train_step

TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
PER_BATCH = 10


@pytest.fixture(autouse=True, scope="session")
def one_warm_up_step() -> Iterator[None]:
    """Shorten the warm-up to one step: it only matters for timing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_step, "WARMUP_STEPS", 1)
        yield


@dataclass(frozen=True)
class Batches:
    """Generated batches with the real names: their folder, archive and contents."""

    folder: Path
    archive: Path
    train: Pixels
    test: Pixels
    labels: list[int]

    @property
    def names(self) -> list[str]:
        """All verified files."""
        return [*TRAIN, "test_batch", "batches.meta"]


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batches:
    """Write ten images per batch, one of each class, and make torchvision expect their MD5."""
    folder = tmp_path / "original" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)
    labels = list(range(10))
    pixels = {}
    for name in [*TRAIN, "test_batch"]:
        pixels[name] = random.integers(0, 256, (PER_BATCH, 32, 32, 3), dtype=np.uint8)
        flat = pixels[name].transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
        (folder / name).write_bytes(pickle.dumps({"data": flat, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    archive = folder.parent / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    sums = {file.name: md5(file) for file in [*folder.iterdir(), archive]}
    reader = reader_class()
    monkeypatch.setattr(reader, "train_list", [[name, sums[name]] for name in TRAIN])
    monkeypatch.setattr(reader, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": sums["batches.meta"]})
    monkeypatch.setattr(reader, "tgz_md5", sums[archive.name])
    train = np.concatenate([pixels[name] for name in TRAIN])
    return Batches(folder, archive, train, pixels["test_batch"], labels)


@dataclass
class Site:
    """A web site on this machine, and the requests it received."""

    folder: Path
    requests: list[str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve an empty folder at the URL that torchvision downloads from."""
    folder = tmp_path / "site"
    folder.mkdir()
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(format % args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
    monkeypatch.setattr(reader_class(), "url", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Site(folder, requests)
    server.shutdown()
    thread.join()
    server.server_close()


def md5(file: Path) -> str:
    """Compute the MD5 that torchvision compares."""
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
