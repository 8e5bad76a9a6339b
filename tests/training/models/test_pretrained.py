"""Pretrained networks: their layers, their frozen body, and where their weights are from."""

from pathlib import Path

import pytest
import torch

from training.data.tensors import LabelledTensors
from training.experiments.catalogue import PRETRAINED
from training.experiments.record import Seeds
from training.models import checkpoint, weights
from training.models.families import read_architecture
from training.models.layers import Layer
from training.models.pretrained_architecture import BODIES, PretrainedArchitecture
from training.models.weights import WeightsError
from training.trainer.build import build_network
from training.trainer.evaluation import predict
from training.trainer.fit import fit

pytest.importorskip("timm", reason="needs the extra pretrained")
from training.models.pretrained import EMPHASIS, PretrainedNet

CLASSES = 3
SEEDS = Seeds(split=0, init=0, order=0, augment=0)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Smooth random images, uint8 [9, 3, 224, 224], each three of one tone."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(9, 3, 7, 7, generator=generator)
    coarse[torch.arange(9), torch.arange(9) % 3] += 1
    smooth = torch.nn.functional.interpolate(coarse / 2, size=(224, 224), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def network(images: torch.Tensor) -> PretrainedNet:
    built = build_network(PRETRAINED, CLASSES, 0, images)
    assert isinstance(built, PretrainedNet)
    return built.eval()


@torch.no_grad()
def test_layers_have_the_lengths_that_are_described(
    network: PretrainedNet, images: torch.Tensor
) -> None:
    found = network.representations(images[:2], network.layers)
    lengths = {layer.name: layer.length for layer in network.spec.layers}
    assert {name: vectors.shape[1] for name, vectors in found.items()} == lengths
    assert network.spec.side == 224


@torch.no_grad()
def test_the_feature_map_adds_up_to_the_features(
    network: PretrainedNet, images: torch.Tensor
) -> None:
    found = network.representations(images[:2], network.layers)
    parts = found["feature_map"].unflatten(1, (-1, 49)).sum(2)
    assert torch.allclose(parts, found["features"], atol=1e-5)


@torch.no_grad()
def test_features_have_mean_0_and_deviation_1_over_the_training_images(
    network: PretrainedNet, images: torch.Tensor
) -> None:
    features = network.representations(images, ("features",))["features"]
    assert features.mean(0).abs().max() < 1e-3
    deviations = features.std(0)  # some features hardly vary, and are left small
    assert deviations.max() < 1.001
    assert (deviations > 0.999).float().mean() > 0.25


@torch.no_grad()
def test_what_is_recalled_gives_the_same_outputs(
    network: PretrainedNet, images: torch.Tensor
) -> None:
    layers: tuple[Layer, ...] = ("texture", "features", "logits")
    recalled = network.representations(network.recall(images), layers)
    for layer, vectors in network.representations(images, layers).items():
        assert torch.allclose(recalled[layer], vectors, atol=1e-4)


def test_a_frozen_body_sees_each_image_once(
    network: PretrainedNet, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.recall(images)
    monkeypatch.setattr(network, "_body_outputs", None)  # to call it would fail
    assert torch.equal(network.recall(images[3:5]), network.recall(images)[3:5])


def test_another_body_recalls_its_own_outputs(network: PretrainedNet, images: torch.Tensor) -> None:
    before = network.recall(images[:1])
    other = build_network(PRETRAINED, CLASSES, 0, images)
    with torch.no_grad():
        next(other.get_submodule("body").parameters()).mul_(2)
    assert not torch.equal(other.recall(images[:1]), before)


def test_training_changes_the_head_and_not_the_body(images: torch.Tensor) -> None:
    built = build_network(PRETRAINED, CLASSES, 0, images)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    data = LabelledTensors(built.recall(images), torch.arange(9) % 3)
    config = PRETRAINED.config.model_copy(update={"epochs": 5, "batch_size": 3})
    fit(built, data, data, config, SEEDS, augmentation=False)
    changed = {
        name for name, one in built.state_dict().items() if not torch.equal(one, before[name])
    }
    assert changed == {"output.weight", "output.bias"}
    assert (predict(built, data).argmax(1) == data.labels).all()


@torch.no_grad()
def test_features_are_longer_where_classes_are_told_apart(images: torch.Tensor) -> None:
    built = build_network(PRETRAINED, CLASSES, 0, images).eval()
    assert isinstance(built, PretrainedNet)
    before = built.representations(images[:2], built.layers)
    built.finish()
    after = built.representations(images[:2], built.layers)
    assert torch.equal(after["logits"], before["logits"])
    weight = built.output.weight - built.output.weight.mean(0)
    longer = (after["features"] @ weight.T) / (before["features"] @ weight.T)
    assert torch.allclose(longer, torch.full_like(longer, 1 + EMPHASIS), rtol=1e-2)
    parts = after["feature_map"].unflatten(1, (-1, 49)).sum(2)
    assert torch.allclose(parts, after["features"], atol=1e-4)


def test_a_saved_network_is_loaded_with_its_family(
    network: PretrainedNet, images: torch.Tensor, tmp_path: Path
) -> None:
    checkpoint.save(network, tmp_path)
    assert read_architecture(tmp_path / "network.json") == PretrainedArchitecture(classes=CLASSES)
    loaded = checkpoint.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(images[:1]), network(images[:1]))


def test_the_weights_name_their_licence() -> None:
    credit = PretrainedArchitecture(classes=2).credit
    assert "EfficientNet-Lite0" in credit
    assert "Apache 2.0" in credit


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"others")
    monkeypatch.setenv(weights.FILE_VARIABLE, str(file))
    weights.read.cache_clear()
    with pytest.raises(WeightsError, match="its sha256 is another"):
        weights.read("efficientnet_lite0")


def test_weights_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = weights.require("efficientnet_lite0")
    copy = tmp_path / "copy.pth"
    copy.symlink_to(packaged)
    monkeypatch.setattr(
        weights, "find_spec", lambda name: None if name != "timm" else pytest.importorskip("timm")
    )
    with pytest.raises(WeightsError, match=weights.FILE_VARIABLE):
        weights.require("efficientnet_lite0")
    monkeypatch.setenv(weights.FILE_VARIABLE, str(copy))
    weights.read.cache_clear()
    assert len(weights.read("efficientnet_lite0")) == 296
    monkeypatch.setenv(weights.FILE_VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="is no file"):
        weights.require("efficientnet_lite0")


def test_the_body_is_described_as_it_is() -> None:
    body = BODIES["efficientnet_lite0"]
    assert (body.channels * body.places[0] * body.places[1], 2 * body.texture) == (62720, 80)
