"""Backends: all runtimes and precisions return the same embeddings, within tolerance."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from service.engine.backends.base import (
    Backend,
    BatchOutput,
    OutputView,
    batch_sizes,
    channels_first,
)
from service.engine.backends.factory import open_backend
from service.engine.backends.openvino_cpu import OpenVino
from service.engine.backends.torch_eager import DEFAULT_THREADS, LazyArrays
from service.engine.backends.torch_graphs import TorchGraphs
from service.settings import Settings
from service.vectors import in_memory
from tests.support.factories import linked_copy
from tests.support.fakes import cosine
from tests.support.images import HeldOut
from tests.support.lengths import length
from tests.support.processes import ROOT
from training import bundle
from training.bundle import Bundle, BundleError, Layer, Pixels, Vectors
from training.models.novelty import THRESHOLD
from training.models.quantization import fake_quantized

COMPARED = length(1000, 500)
"""Held-out real images that the backends are compared on."""

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

OTHERS = (("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
BATCH = 50
LAYERS: tuple[Layer, ...] = ("conv2", "penultimate", "logits")


def outputs(backend: Backend, images: Pixels, batch: int = BATCH) -> BatchOutput:
    """Return the outputs of images [N, 32, 32, 3], run in batches of `batch`."""
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
    """Return the cosine at conv2 of each image."""
    pairs = zip(one.layers["conv2"], other.layers["conv2"], strict=True)
    return [cosine(*pair) for pair in pairs]


def same_class(one: BatchOutput, other: BatchOutput) -> float:
    """Return the share of images with the same class."""
    first, second = (found.layers["logits"].argmax(1) for found in (one, other))
    return float((first == second).mean())


@pytest.fixture(scope="module")
def images(loaded: Bundle) -> Pixels:
    assert loaded.gallery.pixels is not None
    return np.array(loaded.gallery.pixels)


@pytest.fixture(scope="module")
def expected(loaded: Bundle, images: Pixels) -> BatchOutput:
    """The outputs of torch at fp32."""
    backend = open_backend(loaded, backend="torch", device="cpu", precision="fp32")
    return outputs(backend, images)


@pytest.fixture
def own(loaded: Bundle) -> Bundle:
    """Another load of the bundle, whose network may move to a GPU."""
    return bundle.load(loaded.path)


@pytest.mark.parametrize(("choice", "precision"), OTHERS)
def test_every_backend_agrees_with_torch_at_fp32(
    loaded: Bundle, images: Pixels, expected: BatchOutput, choice: str, precision: str
) -> None:
    backend = open_backend(loaded, backend=choice, device="cpu", precision=precision)  # type: ignore[arg-type]  # a literal of OTHERS
    found = outputs(backend, images)
    assert same_class(found, expected) >= 0.98
    assert min(cosines(found, expected)) >= 0.999
    assert found.novelty is not None
    assert expected.novelty is not None
    if (
        precision == "fp32"
    ):  # at bf16 the small test network is too noisy: see the test with real images
        np.testing.assert_allclose(found.novelty, expected.novelty, atol=0.05)


@pytest.mark.parametrize(("choice", "precision"), [("torch", "fp32"), *OTHERS])
def test_further_layers_are_returned_when_they_are_asked_for(
    loaded: Bundle, images: Pixels, choice: str, precision: str
) -> None:
    backend = open_backend(loaded, backend=choice, device="cpu", precision=precision)  # type: ignore[arg-type]  # a literal of OTHERS
    backend.prepare(4)
    batch = channels_first(images[:3])
    assert {*backend.run(batch).layers} == {*LAYERS}
    found = backend.run(batch, further=("conv3", "conv1"))
    assert {*found.layers} == {*LAYERS, "conv1", "conv3"}
    network = bundle.load(loaded.path).network
    with torch.inference_mode():
        tensors = torch.from_numpy(np.ascontiguousarray(batch))
        expected = network.representations(tensors, network.layers)
    for layer in network.layers:
        for row, vector in enumerate(found.layers[layer]):
            assert cosine(vector, expected[layer][row].numpy()) > 0.98
    again = backend.run(batch).layers["conv2"]
    assert min(map(cosine, again, found.layers["conv2"])) > 0.999


@pytest.mark.parametrize("batch_size", [33, 63])  # split by layer, and by image
@pytest.mark.parametrize(("choice", "precision"), OTHERS)
def test_outputs_do_not_depend_on_the_rest_of_the_batch(
    loaded: Bundle, images: Pixels, choice: str, precision: str, batch_size: int
) -> None:
    backend = open_backend(loaded, backend=choice, device="cpu", precision=precision)  # type: ignore[arg-type]
    together = outputs(backend, images[:batch_size], batch=batch_size)
    alone = outputs(backend, images[:batch_size], batch=1)
    assert same_class(alone, together) == 1
    assert min(cosines(alone, together)) >= 0.9999


@pytest.mark.parametrize(("choice", "precision"), OTHERS)
def test_the_next_batch_does_not_overwrite_outputs(
    loaded: Bundle, images: Pixels, choice: str, precision: str
) -> None:
    backend = open_backend(loaded, backend=choice, device="cpu", precision=precision)  # type: ignore[arg-type]
    backend.prepare(4)
    first = backend.run(channels_first(images[:4]))
    before = first.layers["conv2"].copy()
    backend.run(channels_first(images[4:8]))
    assert (first.layers["conv2"] == before).all()


DESTROY_THEN_SIGNAL = """
import os, signal, sys, threading
from pathlib import Path
from service.engine.backends.openvino_cpu import OpenVino
from training.bundle import NetworkSpec

spec = NetworkSpec.model_validate_json(sys.argv[2])
held = [OpenVino(Path(sys.argv[1]).read_bytes, spec)]
elsewhere = threading.Thread(target=held.clear)
elsewhere.start()
elsewhere.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_signals_are_handled_after_another_thread_destroyed_a_backend(loaded: Bundle) -> None:
    """After a reload, OpenVINO would free the signal stack of the main thread."""
    assert loaded.onnx is not None
    ran = subprocess.run(
        [sys.executable, "-c", DESTROY_THEN_SIGNAL, loaded.onnx, loaded.spec.model_dump_json()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "handled\n"), ran.stderr


def test_torch_uses_its_default_threads_after_openvino_has_set_one(loaded: Bundle) -> None:
    """After a reload to an older bundle, another engine prepares in another thread."""

    def prepare(choice: Literal["torch", "openvino"]) -> int:
        open_backend(loaded, backend=choice).prepare(1)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(prepare, "openvino").result()
        assert second.submit(prepare, "torch").result() == DEFAULT_THREADS


@pytest.mark.parametrize("choice", ["torch", "openvino"])
def test_a_backend_is_prepared_again_after_its_bundle_was_deleted(
    loaded: Bundle, tmp_path: Path, choice: str
) -> None:
    """A worker may die and prepare again after its bundle was deleted."""
    copied = linked_copy(loaded.path, tmp_path / "bundle")
    backend = open_backend(bundle.load(copied), backend=choice)  # type: ignore[arg-type]
    shutil.rmtree(copied)
    for _ in range(2):
        assert backend.prepare(1)["logits"] == len(loaded.manifest.classes)


@pytest.mark.soak
def test_the_default_backend_agrees_with_torch_at_fp32_on_real_images(held_out: HeldOut) -> None:
    starter = bundle.load(Path("starter"))
    images = held_out.pixels[:COMPARED]
    served = open_backend(starter)
    found = outputs(served, images)
    expected = outputs(open_backend(starter, backend="torch", precision="fp32"), images)
    assert same_class(found, expected) >= 0.995
    assert min(cosines(found, expected)) >= 0.999
    assert found.novelty is not None
    assert expected.novelty is not None
    within = 0.15 if "int8" in served.name else 0.03  # a percentile: some images lie close together
    np.testing.assert_allclose(found.novelty, expected.novelty, atol=within)
    familiar = (found.novelty <= THRESHOLD) == (expected.novelty <= THRESHOLD)
    assert familiar.mean() >= 0.99


def test_openvino_is_chosen_if_the_bundle_has_an_onnx_file(loaded: Bundle) -> None:
    assert open_backend(loaded, device="cpu").name.startswith("OpenVINO")


def test_openvino_keeps_no_copy_of_the_file_and_prepares_again(loaded: Bundle) -> None:
    """A worker that replaces a dead one prepares again."""
    onnx = loaded.read_onnx()
    reader = [onnx].copy
    references = sys.getrefcount(onnx)
    backend = OpenVino(lambda: reader()[0], loaded.spec, loaded.novelty, loaded.ranges)
    assert sys.getrefcount(onnx) == references
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32), np.uint8)
    backend.prepare(64)
    first = backend.run(images)
    backend.prepare(64)
    again = backend.run(images)
    np.testing.assert_array_equal(first.layers["logits"], again.layers["logits"])
    np.testing.assert_array_equal(first.novelty, again.novelty)
    backend.close()


WITHOUT_TORCH = """
import sys, time
import numpy as np
from service.server.startup import load_state
from service.settings import Settings

state = load_state(Settings(bundle=sys.argv[1], gallery=sys.argv[2]))
state.engine.start()
image = np.zeros((32, 32, 3), np.uint8)
(outcome,) = state.engine.submit([image], time.monotonic() + 60, with_novelty=True).result()
assert outcome.novelty is not None
assert state.engine.description.startswith("OpenVINO")
assert "torch" not in sys.modules
state.close()
"""


def test_the_service_runs_without_torch_on_openvino(tmp_path: Path) -> None:
    """PyTorch takes seconds to import, and 300 MB."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT / "starter"), str(tmp_path)]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_torch_is_chosen_for_an_older_bundle_without_an_onnx_file(older: Bundle) -> None:
    assert open_backend(older, device="cpu").name.startswith("torch")


def test_openvino_is_refused_for_an_older_bundle_without_an_onnx_file(older: Bundle) -> None:
    with pytest.raises(BundleError, match="build the bundle again"):
        open_backend(older, backend="openvino")


@pytest.fixture
def older(loaded: Bundle) -> Bundle:
    """A bundle from before bundles had ONNX files."""
    fields = {name: getattr(loaded, name) for name in loaded.__dataclass_fields__}
    return Bundle(**{**fields, "onnx": None})


def test_int8_of_openvino_agrees_with_the_fake_quantization_of_training(
    loaded: Bundle, images: Pixels
) -> None:
    """So that the tolerance measured in training holds for the network that is served."""
    assert loaded.ranges
    backend = open_backend(loaded, backend="openvino", precision="int8")
    assert backend.name == "OpenVINO, int8, cpu"
    rounded = replace(loaded)
    vars(rounded)["network"] = fake_quantized(loaded.network, loaded.ranges.inputs)
    tried = outputs(open_backend(rounded, backend="torch", precision="fp32"), images)
    found, exact = outputs(backend, images), outputs(open_backend(loaded, backend="torch"), images)
    assert min(cosines(found, tried)) >= 0.9995  # the other layers are at bf16, if available
    assert np.mean(cosines(found, tried)) > np.mean(cosines(found, exact))


@pytest.mark.parametrize(("within_tolerance", "precision"), [(True, "int8"), (False, "bf16")])
def test_int8_is_chosen_only_if_the_ranges_are_within_tolerance(
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
    chosen = open_backend(replace(loaded, ranges=ranges), device="cpu").name
    assert precision in chosen or not within_tolerance
    assert ("int8" in chosen) == within_tolerance
    capable.clear()
    assert "int8" not in open_backend(loaded, device="cpu").name


def test_activation_ranges_of_another_network_are_refused(loaded: Bundle) -> None:
    assert loaded.ranges
    ranges = loaded.ranges.model_copy(update={"inputs": {"blocks.7.conv2": (0.0, 1.0)}})
    with pytest.raises(BundleError, match=r"no convolution blocks\.7\.conv2"):
        open_backend(replace(loaded, ranges=ranges), backend="openvino", precision="int8")


def test_int8_is_refused_without_ranges_or_openvino(loaded: Bundle) -> None:
    without = replace(loaded, ranges=None)
    with pytest.raises(BundleError, match="build the bundle again"):
        open_backend(without, backend="openvino", precision="int8")
    with pytest.raises(BundleError, match="KINDRED_PRECISION"):
        open_backend(loaded, backend="torch", precision="int8")


def test_vectors_on_a_device_are_copied_at_their_first_access() -> None:
    tensors = {layer: torch.full((4, 3), 1.5, dtype=torch.bfloat16) for layer in LAYERS}
    found = BatchOutput(LazyArrays(tensors), None, tensors)
    row = OutputView(found.layers, 2)
    assert row["logits"].tolist() == [1.5] * 3
    for tensor in tensors.values():
        tensor.zero_()  # visible in layers that were not copied before
    assert row["logits"].any()
    assert not row["conv2"].any()
    assert row["conv2"].dtype == np.float32
    assert tuple(row) == LAYERS
    assert len(row) == len(LAYERS)


@pytest.mark.parametrize("on_device", [False, True])
def test_search_queries_stay_on_the_device(on_device: bool) -> None:
    vectors = torch.arange(12.0).view(4, 3)
    layers: dict[Layer, Vectors] = {"conv2": vectors.numpy()}
    found = BatchOutput(layers, None, {"conv2": vectors} if on_device else None)
    queries = found.queries("conv2", [3, 1])
    assert isinstance(queries, torch.Tensor) == on_device
    assert in_memory(queries).tolist() == [[9, 10, 11], [3, 4, 5]]


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_graphs_agree_with_the_cpu(
    own: Bundle, images: Pixels, expected: BatchOutput, precision: str
) -> None:
    """In batches as large as a graph, smaller, and larger than all graphs."""
    backend = open_backend(own, device="cuda", precision=precision)  # type: ignore[arg-type]
    assert isinstance(backend, TorchGraphs)
    for batch in (1, 7, 32):
        found = outputs(backend, images, batch)
        assert same_class(found, expected) >= (0.99 if precision == "fp32" else 0.98)
        assert min(cosines(found, expected)) >= 0.999
    more = backend.run(channels_first(images[:50]))
    assert min(cosines(more, outputs(backend, images[:50], 50))) >= 0.999


@needs_gpu
def test_the_next_graph_does_not_overwrite_outputs(own: Bundle, images: Pixels) -> None:
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
def test_graphs_are_captured_while_another_backend_runs(
    loaded: Bundle, own: Bundle, images: Pixels
) -> None:
    """At a reload, two threads use one device."""
    serving = open_backend(own, device="cuda")
    coming = open_backend(bundle.load(loaded.path), device="cuda")
    serving.prepare(8)
    with ThreadPoolExecutor(1) as pool:
        prepared = pool.submit(coming.prepare, 64)
        while not prepared.done():
            serving.run(channels_first(images[:8]))
        prepared.result()
    one, other = (
        backend.run(channels_first(images[:8])).layers["logits"].argmax(1)
        for backend in (serving, coming)
    )
    assert (one == other).all()


def test_openvino_is_refused_on_a_gpu() -> None:
    with pytest.raises(ValueError, match="on the CPU only"):
        Settings(backend="openvino", device="cuda:0")


def test_a_backend_that_is_not_installed_is_refused_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.settings.has_openvino", lambda: False)
    with pytest.raises(ValueError, match=r"pip install '\.\[openvino\]'"):
        Settings(backend="openvino")


@pytest.mark.parametrize(
    ("max_batch_size", "sizes"),
    [(1, (1,)), (2, (1, 2)), (5, (1, 2, 4, 5)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_all_powers_of_two_and_the_largest_batch_are_warmed_up(
    max_batch_size: int, sizes: tuple[int, ...]
) -> None:
    assert batch_sizes(max_batch_size) == sizes
