"""Tests that the eight experiments are those of the course report."""

import pytest

from training.experiments.catalogue import EXPERIMENTS, UnknownExperimentError, find
from training.experiments.config import Config, group_id

# name: published name, seconds, validation accuracy, test accuracy, as in the course report. Its
# validation table swaps none-3 and dropout-3; the values here are those of its log.
PREFIX = "Lab2_P1_Regularizer_"
PUBLISHED = {
    "none-2": (f"{PREFIX}None_2LayerCNN", 109.15, 0.7408, 0.7393),
    "none-3": (f"{PREFIX}None_3LayerCNN", 118.6, 0.7508, 0.7452),
    "batchnorm-2": (f"{PREFIX}BatchNorm_2LayerCNN", 106.56, 0.7397, 0.7415),
    "batchnorm-3": (f"{PREFIX}BatchNorm_3LayerCNN", 115.19, 0.7907, 0.7845),
    "dropout-2": (f"{PREFIX}DropOut_2LayerCNN", 103.0, 0.7549, 0.7540),
    "dropout-3": (f"{PREFIX}DropOut_3LayerCNN", 108.6, 0.0976, 0.0971),
    "augmentation-2": (f"{PREFIX}DataAugmentation_2LayerCNN", 136.60, 0.7623, 0.7572),
    "augmentation-3": (f"{PREFIX}DataAugmentation_3LayerCNN", 147.88, 0.0994, 0.0967),
}


def test_all_eight_experiments_are_in_the_catalogue() -> None:
    assert set(PUBLISHED) <= {experiment.name for experiment in EXPERIMENTS}


def test_names_are_unique() -> None:
    names = [name for one in EXPERIMENTS for name in (one.name, one.published_name) if name]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_are_those_of_the_report(name: str) -> None:
    experiment = find(name)
    published = experiment.published
    assert published
    assert (
        experiment.published_name,
        published.training_seconds,
        published.validation_accuracy,
        published.test_accuracy,
    ) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_name_is_an_alias(name: str) -> None:
    assert find(PUBLISHED[name][0]) is find(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_variant_matches_its_name(name: str) -> None:
    regularizer, blocks = name.rsplit("-", 1)
    variant = find(name).variant
    assert variant.conv_blocks == int(blocks)
    assert variant.batch_norm == (regularizer == "batchnorm")
    assert variant.dropout == (0.2 if regularizer == "dropout" else 0.0)
    assert variant.augmentation == (regularizer == "augmentation")


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_experiment_has_the_training_settings_of_the_report(name: str) -> None:
    config = find(name).config
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adam", 0.001, 0.0005)
    assert (config.batch_size, config.epochs, config.schedule) == (64, 10, "constant")
    assert not config.decay_decoupled
    assert config.label_smoothing == 0


def test_the_error_for_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(UnknownExperimentError) as raised:
        find("batchnorm-4")
    assert "'batchnorm-4'" in str(raised.value)
    assert all(name in str(raised.value) for name in PUBLISHED)


def test_each_experiment_and_data_set_has_its_own_group_id() -> None:
    groups = {group_id(one, data) for one in EXPERIMENTS for data in ("a" * 64, "b" * 64)}
    assert len(groups) == 2 * len(EXPERIMENTS)


def test_another_setting_gives_another_group_id() -> None:
    experiment = find("none-2")
    changed = experiment.model_copy(update={"config": Config(weight_decay=0.0)})
    assert group_id(changed, "a") != group_id(experiment, "a")


def test_the_group_id_of_existing_records_does_not_change() -> None:
    assert group_id(find("batchnorm-3"), "0" * 64) == "77246edceaf0ffe0"
