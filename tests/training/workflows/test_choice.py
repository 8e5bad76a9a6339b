"""The network that own images get, and the reason that is printed."""

import pytest

from training.experiments.catalogue import UnknownExperimentError
from training.models import weights
from training.models.weights import WeightsError
from training.workflows.choice import choose, epochs_for


def test_without_weights_it_is_the_recipe_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    choice = choose(None)
    assert choice.experiment.name == "best-3"
    assert choice.reason == (
        "as timm is not installed: pip install '.[pretrained]' in the checkout"
    )


def test_with_weights_it_is_the_pretrained_network() -> None:
    pytest.importorskip("timm", reason="needs the extra pretrained")
    choice = choose(None)
    assert choice.experiment.name == "pretrained"
    assert choice.reason == "as the weights of EfficientNet-Lite0 are there"
    assert choice.for_images(10) == choice.experiment


def test_a_name_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("batchnorm-3").experiment.name == "batchnorm-3"
    with pytest.raises(UnknownExperimentError, match="no experiment 'resnet'"):
        choose("resnet")
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="timm is not installed"):
        choose("pretrained")


def test_fewer_images_get_more_epochs_and_fewer_steps() -> None:
    epochs = [epochs_for(30, count) for count in (35_000, 8_750, 2_568, 100, 1_000_000)]
    assert epochs == [30, 60, 111, 120, 10]
    assert choose("best-3").for_images(8_750).config.epochs == 60
    assert choose("batchnorm-3").for_images(8_750).config.epochs == 10


def test_larger_images_get_fewer_epochs() -> None:
    assert [epochs_for(30, 2_568, side) for side in (32, 64, 96, 128)] == [111, 55, 37, 28]
    assert choose("best-3-64").for_images(8_750).config.epochs == 30
