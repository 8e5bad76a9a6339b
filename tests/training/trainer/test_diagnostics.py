"""Tests of the diagnosis of a network and of the chance loss."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.factories import epoch, network
from tests.training.trainer.scripted import labelled_images, predicted_as
from training.data.tensors import LabelledTensors
from training.trainer.diagnostics import chance_loss, collapsed, diagnose

CHANCE = math.log(10)


@pytest.mark.parametrize(
    ("loss", "expected"), [(math.log(10), True), (2.2930, True), (2.29, False), (1.0, False)]
)
def test_a_run_has_collapsed_if_its_last_loss_is_the_chance_loss(
    loss: float, expected: bool
) -> None:
    assert collapsed([epoch(1, train_loss=2.2), epoch(2, train_loss=loss)], CHANCE) == expected


def test_a_run_that_only_started_at_the_chance_loss_has_not_collapsed() -> None:
    assert not collapsed(
        [epoch(1, train_loss=math.log(10)), epoch(2, train_loss=1.5)], math.log(10)
    )


def chance(labels: list[int], classes: int, smoothing: float = 0.0) -> float:
    images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
    return chance_loss(LabelledTensors(images, torch.tensor(labels)), classes, smoothing)


def test_the_chance_loss_is_the_entropy_of_the_labels() -> None:
    assert chance(list(range(10)) * 3, 10) == pytest.approx(math.log(10))
    uneven = 0.9 * math.log(1 / 0.9) + 0.1 * math.log(10)
    assert chance([0] * 9 + [1], 2) == pytest.approx(uneven)
    assert chance([0, 0, 1], 3) < math.log(3)  # a class without images


def test_the_chance_loss_is_that_of_the_best_constant_output() -> None:
    labels = [0] * 5 + [1] * 2 + [2]
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure() -> float:
        optimizer.zero_grad()
        targets = torch.tensor(labels)
        loss = functional.cross_entropy(logits.expand(8, 3), targets, label_smoothing=0.1)
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    assert chance(labels, 3, 0.1) == pytest.approx(closure(), abs=1e-5)


def make_dead(module: nn.Module) -> None:
    """Set the layer so that its output after ReLU is always 0."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    assert module.bias is not None
    nn.init.zeros_(module.weight)
    nn.init.constant_(module.bias, -1.0)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3"])
def test_diagnosis_finds_a_dead_convolution(layer: str) -> None:
    built = network(3)
    block = built.blocks[int(layer[-1]) - 1]
    make_dead(block.get_submodule("conv2"))
    found = diagnose(built, labelled_images())
    assert found.dead_fraction[layer] == 1
    assert found.constant_output
    assert found.logit_std == 0


@pytest.mark.parametrize(("layer", "module"), [("hidden1", "hidden1"), ("penultimate", "hidden2")])
def test_diagnosis_finds_a_dead_hidden_layer(layer: str, module: str) -> None:
    built = network(2)
    make_dead(built.get_submodule(module))
    found = diagnose(built, labelled_images())
    assert found.dead_fraction[layer] == 1
    assert found.constant_output


def test_diagnosis_counts_the_dead_units_of_a_layer() -> None:
    built = network(2)
    with torch.no_grad():
        quarter = len(built.hidden2.bias) // 4
        built.hidden2.weight[:quarter] = 0
        built.hidden2.bias[:quarter] = -1
    healthy, planted = diagnose(network(2), labelled_images()), diagnose(built, labelled_images())
    alive = 1 - healthy.dead_fraction["penultimate"]
    assert planted.dead_fraction["penultimate"] == pytest.approx(1 - alive * 0.75, abs=0.05)
    assert planted.dead_fraction["penultimate"] >= 0.25


def test_a_healthy_network_has_no_dead_layer() -> None:
    found = diagnose(network(2), labelled_images())
    assert set(found.dead_fraction) == {"conv1", "conv2", "hidden1", "penultimate"}
    assert max(found.dead_fraction.values()) < 1
    assert found.logit_std > 0


def test_diagnosis_uses_all_classes_of_a_sorted_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.trainer.diagnostics.DIAGNOSTIC_IMAGES", 5)
    seen: list[Tensor] = []
    built = network(2)
    built.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    images = predicted_as(sorted(list(range(10)) * 2))
    diagnose(built, LabelledTensors(images, images[:, 0, 0, 0].long()))
    assert seen[0][:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert seen[1][:, 0, 0, 0].unique().tolist() == list(range(10))  # the images of the gradient


def test_diagnosis_removes_its_hooks() -> None:
    built = network(2)
    diagnose(built, labelled_images(10))
    assert not any(module._forward_hooks for module in built.modules())


def test_diagnosis_has_the_gradient_norm_of_each_layer_with_weights() -> None:
    found = diagnose(network(2), labelled_images())
    assert found.weight_norm.keys() == found.gradient_norm.keys()
    assert {name.split(".")[-1] for name in found.weight_norm} >= {
        "conv1",
        "conv2",
        "hidden1",
        "output",
    }
    assert min(found.weight_norm.values()) > 0
    assert min(found.gradient_norm.values()) > 0


def test_the_gradient_before_a_dead_layer_is_0() -> None:
    built = network(2)
    make_dead(built.get_submodule("hidden2"))
    found = diagnose(built, labelled_images())
    assert found.gradient_norm["hidden1"] == 0
    assert built.hidden1.weight.grad is None
