"""Backends: whatever runs the network, the answers are the same."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from service.engine.backends.base import (
    LAYERS,
    Backend,
    BatchOutput,
    LazyArrays,
    OutputView,
    batch_sizes,
    channels_first,
)
from service.engine.backends.factory import open_backend
from service.engine.backends.torch_eager import PLATFORM_DTYPE
from service.engine.backends.torch_graphs import TorchGraphs
from service.settings import Settings
from service.vectors import in_memory
from tests.support.factories import linked_copy
from tests.support.fakes import cosine
from tests.support.processes import ROOT
from training import bundle
from training.bundle import Bundle, BundleError, Layer, Pixels, Vectors
from training.data import dataset
from training.data.splits import split
from training.models.novelty import THRESHOLD
from training.models.quantization import fake_quantized

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

OTHERS = (("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
BATCH = 50


def outputs(backend: Backend, images: Pixels, batch: int = BATCH) -> BatchOutput:
    """Of all of the images [N, 32, 32, 3], in batches of so many."""
    backend.prepare(batch)
    found = [
        backend.run(channels_first(images[start : start + batch]))
        for start in range(0, len(images), batch)
    ]
    novelty = [one.novelty for one in found if one.novelty is not None]
    return BatchOutput(
        {layer: np.concatenate([one.layers[layer] for one in found]) for layer in LAYERS},
        np.concatenate(novelty),
    )


def cosines(one: BatchOutput, other: BatchOutput) -> list[float]:
    """At conv2, of each image."""
    pairs = zip(one.layers["conv2"], other.layers["conv2"], strict=True)
    return [cosine(*pair) for pair in pairs]


def same_class(one: BatchOutput, other: BatchOutput) -> float:
    """The share of images."""
    first, second = (found.layers["logits"].argmax(1) for found in (one, other))
    return float((first == second).mean())


@pytest.fixture(scope="module")
def images(loaded: Bundle) -> Pixels:
    assert loaded.gallery.pixels is not None
    return np.array(loaded.gallery.pixels)


@pytest.fixture(scope="module")
def expected(loaded: Bundle, images: Pixels) -> BatchOutput:
    """What torch says at fp32."""
    backend = open_backend(loaded, engine="torch", device="cpu", precision="fp32")
    return outputs(backend, images)


@pytest.fixture
def own(loaded: Bundle) -> Bundle:
    """The same bundle, whose network may be moved elsewhere."""
    return bundle.load(loaded.path)


@pytest.mark.parametrize(("engine", "precision"), OTHERS)
def test_every_backend_says_what_torch_says(
    loaded: Bundle, images: Pixels, expected: BatchOutput, engine: str, precision: str
) -> None:
    backend = open_backend(loaded, engine=engine, device="cpu", precision=precision)  # type: ignore[arg-type]  # of the lists
    found = outputs(backend, images)
    assert same_class(found, expected) >= 0.98
    assert min(cosines(found, expected)) >= 0.999
    assert found.novelty is not None
    assert expected.novelty is not None
    if precision == "fp32":  # at bf16 the small network of the tests is no measure: see real images
        np.testing.assert_allclose(found.novelty, expected.novelty, atol=0.05)


@pytest.mark.parametrize("together_with", [33, 63])  # the cores share steps, or images
@pytest.mark.parametrize(("engine", "precision"), OTHERS)
def test_an_answer_does_not_vary_with_its_companions(
    loaded: Bundle, images: Pixels, engine: str, precision: str, together_with: int
) -> None:
    backend = open_backend(loaded, engine=engine, device="cpu", precision=precision)  # type: ignore[arg-type]
    together = outputs(backend, images[:together_with], batch=together_with)
    alone = outputs(backend, images[:together_with], batch=1)
    assert same_class(alone, together) == 1
    assert min(cosines(alone, together)) >= 0.9999


@pytest.mark.parametrize(("engine", "precision"), OTHERS)
def test_what_a_batch_gave_stays_when_the_next_is_run(
    loaded: Bundle, images: Pixels, engine: str, precision: str
) -> None:
    backend = open_backend(loaded, engine=engine, device="cpu", precision=precision)  # type: ignore[arg-type]
    backend.prepare(4)
    first = backend.run(channels_first(images[:4]))
    before = first.layers["conv2"].copy()
    backend.run(channels_first(images[4:8]))
    assert (first.layers["conv2"] == before).all()


GONE_AND_SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from service.engine.backends.openvino_cpu import OpenVino

held = [OpenVino(Path(sys.argv[1]))]
elsewhere = threading.Thread(target=held.clear)
elsewhere.start()
elsewhere.join()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_signals_are_heard_after_a_backend_has_gone_in_another_thread(loaded: Bundle) -> None:
    """As after a reload: OpenVINO would take the stack that it had given the main thread."""
    assert loaded.onnx is not None
    ran = subprocess.run(
        [sys.executable, "-c", GONE_AND_SIGNALLED, loaded.onnx],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "heard\n"), ran.stderr


def test_torch_has_its_threads_after_another_backend_took_one(loaded: Bundle) -> None:
    """As when a service is given an older bundle: each engine prepares in a thread of its own."""

    def prepare(engine: Literal["torch", "openvino"]) -> int:
        open_backend(loaded, engine=engine).prepare(1)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert first.submit(prepare, "openvino").result() == 1
        assert second.submit(prepare, "torch").result() == PLATFORM_DTYPE


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_backend_is_prepared_anew_when_its_bundle_has_been_taken_away(
    loaded: Bundle, tmp_path: Path, engine: str
) -> None:
    """As for a worker that died after that."""
    copied = linked_copy(loaded.path, tmp_path / "bundle")
    backend = open_backend(bundle.load(copied), engine=engine)  # type: ignore[arg-type]
    shutil.rmtree(copied)
    for _ in range(2):
        assert backend.prepare(1)["logits"] == len(loaded.manifest.classes)


@pytest.mark.skipif("KINDRED_DATA" not in os.environ, reason="set KINDRED_DATA to real images")
def test_on_real_images_what_is_served_agrees_with_torch_at_fp32() -> None:
    """2,500 that the network has not been trained on."""
    starter = bundle.load(Path("starter"))
    images = dataset.load(Path(os.environ["KINDRED_DATA"]))
    held_out = images.images[split(images, 0).indices("test")[:2500]].permute(0, 2, 3, 1).numpy()
    served = open_backend(starter)
    found = outputs(served, held_out)
    expected = outputs(open_backend(starter, engine="torch", precision="fp32"), held_out)
    assert same_class(found, expected) >= 0.995
    assert min(cosines(found, expected)) >= 0.999
    assert found.novelty is not None
    assert expected.novelty is not None
    within = 0.15 if "int8" in served.name else 0.03  # it is a percentile: some lie close together
    np.testing.assert_allclose(found.novelty, expected.novelty, atol=within)
    familiar = (found.novelty <= THRESHOLD) == (expected.novelty <= THRESHOLD)
    assert familiar.mean() >= 0.99


def test_openvino_is_taken_where_the_bundle_has_onnx(loaded: Bundle) -> None:
    assert open_backend(loaded, device="cpu").name.startswith("OpenVINO")


def test_an_older_bundle_without_onnx_is_run_by_torch(older: Bundle) -> None:
    assert open_backend(older, device="cpu").name.startswith("torch")


def test_an_older_bundle_cannot_be_run_by_openvino(older: Bundle) -> None:
    with pytest.raises(BundleError, match="build the bundle anew"):
        open_backend(older, engine="openvino")


@pytest.fixture
def older(loaded: Bundle) -> Bundle:
    """A bundle of before there was ONNX in it."""
    fields = {name: getattr(loaded, name) for name in loaded.__dataclass_fields__}
    return Bundle(**{**fields, "onnx": None})


def test_at_int8_openvino_says_what_was_tried_out_in_floating_point(
    loaded: Bundle, images: Pixels
) -> None:
    """So that what the bundle says of how much rounding moves is of what is served."""
    assert loaded.ranges
    backend = open_backend(loaded, engine="openvino", precision="int8")
    assert backend.name == "OpenVINO, int8, cpu"
    rest = {**vars(loaded), "network": fake_quantized(loaded.network, loaded.ranges.inputs)}
    tried = outputs(open_backend(Bundle(**rest), engine="torch", precision="fp32"), images)
    found, exact = outputs(backend, images), outputs(open_backend(loaded, engine="torch"), images)
    assert min(cosines(found, tried)) >= 0.9995  # the rest is at bf16, where there is that
    assert np.mean(cosines(found, tried)) > np.mean(cosines(found, exact))


@pytest.mark.parametrize(("within_tolerance", "precision"), [(True, "int8"), (False, "bf16")])
def test_int8_is_taken_unasked_where_it_moves_little(
    loaded: Bundle, monkeypatch: pytest.MonkeyPatch, within_tolerance: bool, precision: str
) -> None:
    capable = {"avx512_vnni": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable)
    assert loaded.ranges
    measured = {
        "same_class": 0.995,
        "least_cosine": 0.999,
        "checks": 500 if within_tolerance else 499,
    }
    ranges = loaded.ranges.model_copy(update=measured)
    chosen = open_backend(Bundle(**{**vars(loaded), "ranges": ranges}), device="cpu").name
    assert precision in chosen or not within_tolerance
    assert ("int8" in chosen) == within_tolerance
    capable.clear()
    assert "int8" not in open_backend(loaded, device="cpu").name


def test_ranges_of_another_network_are_refused(loaded: Bundle) -> None:
    assert loaded.ranges
    ranges = loaded.ranges.model_copy(update={"inputs": {"blocks.7.conv2": (0.0, 1.0)}})
    with pytest.raises(BundleError, match=r"no convolution blocks\.7\.conv2"):
        open_backend(
            Bundle(**{**vars(loaded), "ranges": ranges}), engine="openvino", precision="int8"
        )


def test_int8_is_refused_where_it_cannot_be(loaded: Bundle) -> None:
    without = Bundle(**{**vars(loaded), "ranges": None})
    with pytest.raises(BundleError, match="build the bundle anew"):
        open_backend(without, engine="openvino", precision="int8")
    with pytest.raises(BundleError, match="KINDRED_PRECISION"):
        open_backend(loaded, engine="torch", precision="int8")


def test_vectors_on_a_device_come_over_when_they_are_asked_for() -> None:
    tensors = {layer: torch.full((4, 3), 1.5, dtype=torch.bfloat16) for layer in LAYERS}
    found = BatchOutput(LazyArrays(tensors), None, tensors)
    row = OutputView(found.layers, 2)
    assert row["logits"].tolist() == [1.5] * 3
    for tensor in tensors.values():
        tensor.zero_()  # seen by whoever has not looked before
    assert row["logits"].any()
    assert not row["conv2"].any()
    assert row["conv2"].dtype == np.float32
    assert tuple(row) == LAYERS
    assert len(row) == len(LAYERS)


@pytest.mark.parametrize("there", [False, True])
def test_what_is_looked_for_is_taken_where_it_is(there: bool) -> None:
    vectors = torch.arange(12.0).view(4, 3)
    layers: dict[Layer, Vectors] = {"conv2": vectors.numpy()}
    found = BatchOutput(layers, None, {"conv2": vectors} if there else None)
    queries = found.queries("conv2", [3, 1])
    assert isinstance(queries, torch.Tensor) == there
    assert in_memory(queries).tolist() == [[9, 10, 11], [3, 4, 5]]


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_on_a_gpu_say_what_the_processor_says(
    own: Bundle, images: Pixels, expected: BatchOutput, precision: str
) -> None:
    """In batches of every kind: as large as a graph, smaller, larger than all."""
    backend = open_backend(own, device="cuda", precision=precision)  # type: ignore[arg-type]
    assert isinstance(backend, TorchGraphs)
    for batch in (1, 7, 32):
        found = outputs(backend, images, batch)
        assert same_class(found, expected) >= (0.99 if precision == "fp32" else 0.98)
        assert min(cosines(found, expected)) >= 0.999
    more = backend.run(channels_first(images[:50]))
    assert min(cosines(more, outputs(backend, images[:50], 50))) >= 0.999


@needs_gpu
def test_what_a_graph_gave_stays_when_the_next_is_run(own: Bundle, images: Pixels) -> None:
    backend = open_backend(own, device="cuda")
    backend.prepare(4)
    first = backend.run(channels_first(images[:3]))
    assert first.tensors is not None
    before = first.tensors["conv2"].clone()
    for size in (4, 2, 1, 3):
        backend.run(channels_first(images[4 : 4 + size]))
    assert torch.equal(first.tensors["conv2"], before)
    assert cosine(first.layers["conv2"][0], in_memory(before)[0]) >= 0.9999


@needs_gpu
def test_a_bundle_is_captured_while_another_is_served(
    loaded: Bundle, own: Bundle, images: Pixels
) -> None:
    """As at a reload: each in a thread of its own, on one device."""
    serving = open_backend(own, device="cuda")
    coming = open_backend(bundle.load(loaded.path), device="cuda")
    serving.prepare(8)
    with ThreadPoolExecutor(1) as beside:
        prepared = beside.submit(coming.prepare, 64)
        while not prepared.done():
            serving.run(channels_first(images[:8]))
        prepared.result()
    one, other = (
        backend.run(channels_first(images[:8])).layers["logits"].argmax(1)
        for backend in (serving, coming)
    )
    assert (one == other).all()


def test_openvino_is_for_the_cpu_alone() -> None:
    with pytest.raises(ValueError, match="on the CPU only"):
        Settings(backend="openvino", device="cuda:0")


def test_an_engine_that_is_not_installed_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.settings.has_openvino", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'kindred\[openvino\]'"):
        Settings(backend="openvino")


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (5, (1, 2, 4, 5)), (64, (1, 2, 4, 8, 16, 32, 64))]
)
def test_every_power_of_two_is_warmed_and_the_most(most: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(most) == sizes
