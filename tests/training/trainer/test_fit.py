"""Tests of `fit`, `evaluate` and `diagnose`."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.factories import epoch, network, seeds, tiny
from training.data.tensors import LabelledTensors
from training.experiments.config import Config
from training.experiments.record import Epoch
from training.models.blocknet import BlockNet
from training.trainer import evaluation, train_step
from training.trainer.diagnostics import chance_loss, collapsed, diagnose
from training.trainer.evaluation import evaluate
from training.trainer.fit import COLLAPSE_PATIENCE, DivergedError, FitResult, fit, learning_rate
from training.trainer.train_step import Step

CHANCE = math.log(10)
CONFIG = Config(epochs=2, batch_size=12, precision="fp32")


def labelled_images(count: int = 20, start: int = 0) -> LabelledTensors:
    dataset = tiny(per_class=-(-count // 10), start=start)
    return LabelledTensors(dataset.images[:count], dataset.labels[:count])


def losses(made: FitResult) -> list[tuple[float, float | None]]:
    return [(one.train_loss, one.validation_loss) for one in made.curves]


def trained(
    seed: int = 0, *, config: Config = CONFIG, augmentation: bool = True
) -> tuple[BlockNet, FitResult]:
    """Train a network with dropout, so that every kind of random draw happens."""
    built = network(dropout=0.2, seed=seed)
    training, validation = labelled_images(), labelled_images(20, start=100)
    made = fit(built, training, validation, config, seeds(seed), augmentation=augmentation)
    return built, made


def test_the_same_seeds_give_the_same_losses_epoch_by_epoch() -> None:
    torch.manual_seed(1)
    _, first = trained(seed=5)
    torch.manual_seed(2)  # the caller's random state must not matter
    _, second = trained(seed=5)
    assert losses(first) == losses(second)


@pytest.mark.parametrize("what", ["order", "augment"])
def test_another_seed_gives_other_losses(what: str) -> None:
    config = CONFIG.model_copy(update={"epochs": 1})
    found = set()
    for number in (0, 1):
        drawn = seeds().model_copy(update={what: number})
        made = fit(network(), labelled_images(), None, config, drawn, augmentation=True)
        found.add(made.curves[0].train_loss)
    assert len(found) == 2


def test_the_callers_random_state_does_not_change() -> None:
    before = torch.get_rng_state()
    trained(config=CONFIG.model_copy(update={"epochs": 1}))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_loss() -> None:
    config = CONFIG.model_copy(update={"epochs": 4})
    made = fit(network(), labelled_images(), None, config, seeds(), augmentation=False)
    assert made.curves[-1].train_loss < made.curves[0].train_loss


def test_warm_up_does_not_change_the_weights() -> None:
    built = network(batch_norm=True)
    weights = built.output.weight.detach().clone()
    still = CONFIG.model_copy(update={"epochs": 1, "learning_rate": 0.0})
    fit(built, labelled_images(), None, still, seeds(), augmentation=False)
    assert torch.equal(built.output.weight, weights)
    assert built.state_dict()["blocks.0.norm.num_batches_tracked"] == 2  # the epoch's own steps


def test_warm_up_does_not_change_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "WARMUP_STEPS", 0)
    _, without = trained()
    monkeypatch.setattr(train_step, "WARMUP_STEPS", 2)
    assert losses(trained()[1]) == losses(without)


def test_each_training_image_is_used_once_an_epoch_with_a_shorter_last_batch() -> None:
    steps: list[int] = []
    built, training = network(), labelled_images(29)
    seen: list[int] = []
    built.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    config = CONFIG.model_copy(update={"epochs": 1})
    fit(built, training, None, config, seeds(), augmentation=False, on_step=lambda: steps.append(1))
    assert seen[-3:] == [12, 12, 5]
    assert len(steps) == 3


class ScriptedLogits(nn.Module):
    """Returns scripted_network logits: the first pixel of each image is the predicted class."""

    def forward(self, images: Tensor) -> Tensor:
        chosen: Tensor = nn.functional.one_hot(images[:, 0, 0, 0].long(), 10)
        return 100.0 * chosen.float()


def predicted_as(classes: list[int]) -> Tensor:
    images = torch.zeros(len(classes), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(classes)
    return images


def scripted_network(monkeypatch: pytest.MonkeyPatch) -> BlockNet:
    built = network()
    monkeypatch.setattr(built, "forward", ScriptedLogits().forward)
    return built


def test_accuracy_is_counted_over_images_not_averaged_over_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)
    images = predicted_as([0, 1, 2, 3, 4])
    found = evaluate(
        scripted_network(monkeypatch), LabelledTensors(images, torch.tensor([0, 1, 2, 3, 9]))
    )
    assert found.accuracy == 4 / 5  # the mean of the batches would be 1 / 2
    assert found.loss == pytest.approx(100 / 5)
    assert found.count == 5


def test_training_accuracy_is_counted_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step, "WARMUP_STEPS", 0)
    built = network()

    def scripted_forward(images: Tensor) -> Tensor:
        return ScriptedLogits().forward(images) + 0 * built.output.bias

    monkeypatch.setattr(built, "forward", scripted_forward)
    labels = torch.tensor([0] * 17)
    training = LabelledTensors(predicted_as([0] * 16 + [1]), labels)
    made = fit(built, training, None, CONFIG, seeds(), augmentation=False)
    assert made.curves[0].train_accuracy == pytest.approx(16 / 17)
    assert made.curves[0].train_loss == pytest.approx(100 / 17)


def test_rows_of_the_confusion_matrix_are_the_true_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([3, 3, 7])
    found = evaluate(
        scripted_network(monkeypatch), LabelledTensors(predicted_as([5, 5, 7]), labels)
    )
    matrix = torch.tensor(found.confusion_matrix)
    assert [int(n) for n in (matrix[3, 5], matrix[7, 7], matrix.sum())] == [2, 1, 3]


def test_the_evaluation_does_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    built, held_out = network(batch_norm=True), labelled_images(25)
    together = evaluate(built, held_out)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    apart = evaluate(built, held_out)
    assert apart.confusion_matrix == together.confusion_matrix
    assert apart.loss == pytest.approx(together.loss, rel=1e-5)


def test_evaluation_does_not_change_the_network() -> None:
    built = network(batch_norm=True, dropout=0.2)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    evaluate(built, labelled_images(20))
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


def test_only_training_images_are_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    augmented: list[Tensor] = []

    def keep(images: Tensor, *_rest: object) -> Tensor:
        augmented.append(images)
        return images

    monkeypatch.setattr(train_step, "augment", keep)
    training = LabelledTensors(
        torch.full((12, 3, 32, 32), 1, dtype=torch.uint8), torch.zeros(12).long()
    )
    validation = LabelledTensors(
        torch.full((9, 3, 32, 32), 2, dtype=torch.uint8), torch.zeros(9).long()
    )
    fit(network(), training, validation, CONFIG, seeds(), augmentation=True)
    assert augmented
    assert all((images == 1).all() for images in augmented)


def test_validation_metrics_are_those_of_images_without_augmentation() -> None:
    built, made = trained(augmentation=True)
    found = evaluate(built, labelled_images(20, start=100))
    last = made.curves[-1]
    assert (last.validation_loss, last.validation_accuracy) == (found.loss, found.accuracy)


def test_without_augmentation_no_image_is_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(train_step, "augment")
    _, made = trained(config=CONFIG.model_copy(update={"epochs": 1}), augmentation=False)
    assert len(made.curves) == 1


def test_without_validation_images_there_are_no_validation_metrics() -> None:
    config = CONFIG.model_copy(update={"epochs": 1})
    made = fit(network(), labelled_images(), None, config, seeds(), augmentation=False)
    assert made.curves[0].validation_loss is None
    assert made.curves[0].validation_accuracy is None


def test_on_epoch_is_called_after_each_epoch() -> None:
    reported: list[Epoch] = []
    config = CONFIG.model_copy(update={"epochs": 2})
    built, data = network(), labelled_images(20)
    made = fit(built, data, None, config, seeds(), augmentation=False, on_epoch=reported.append)
    assert tuple(reported) == made.curves
    assert [one.epoch for one in reported] == [1, 2]


def test_training_seconds_are_the_sum_of_the_epochs() -> None:
    _, made = trained()
    assert made.timing.train == pytest.approx(sum(one.seconds for one in made.curves))
    assert made.timing.images_per_second == pytest.approx(2 * 20 / made.timing.train)


@pytest.mark.parametrize(
    ("decoupled", "kind"), [(False, torch.optim.Adam), (True, torch.optim.AdamW)]
)
def test_decay_decoupled_selects_adam_or_adamw(
    decoupled: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[type] = []
    original = torch.optim.Optimizer.__init__

    def keep(self: torch.optim.Optimizer, *args: object, **kwargs: object) -> None:
        made.append(type(self))
        original(self, *args, **kwargs)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", keep)
    config = CONFIG.model_copy(update={"epochs": 1, "decay_decoupled": decoupled})
    fit(network(), labelled_images(16), None, config, seeds(), augmentation=False)
    assert set(made) == {kind}


def test_a_loss_of_nan_raises_an_error_that_names_the_epoch() -> None:
    built = network()
    nn.init.constant_(built.output.bias, math.nan)
    with pytest.raises(DivergedError, match="training loss is nan in epoch 1"):
        fit(built, labelled_images(16), None, CONFIG, seeds(), augmentation=False)


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


def test_stop_if_collapsed_ends_a_run_that_does_not_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = CONFIG.model_copy(update={"epochs": 6, "learning_rate": 0.0})

    def epochs(config: Config, *, stop: bool) -> int:
        built = network(batch_norm=True)
        made = fit(
            built,
            labelled_images(),
            None,
            config,
            seeds(),
            augmentation=False,
            stop_if_collapsed=stop,
        )
        assert made.timing.images_per_second * made.timing.train == pytest.approx(
            20 * len(made.curves)
        )
        return len(made.curves)

    assert epochs(still, stop=True) == 6  # too few steps to end early
    monkeypatch.setattr("training.trainer.fit.COLLAPSE_STEPS", 1)
    assert epochs(still, stop=True) == COLLAPSE_PATIENCE
    assert epochs(still, stop=False) == 6
    learning = CONFIG.model_copy(update={"epochs": 4, "batch_size": 2})
    assert epochs(learning, stop=True) == 4


def test_one_cycle_equals_pytorchs_schedule() -> None:
    config = Config(schedule="one_cycle", learning_rate=0.3)
    steps = 40
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([weight])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, steps, pct_start=(10 + 1) / 40, cycle_momentum=False
    )  # PyTorch counts to the start of the last step, `learning_rate` to its end
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    ours = [learning_rate(config, number, steps) for number in range(steps)]
    assert ours[:11] == pytest.approx(rates[:11], rel=1e-6)
    assert max(ours) == ours[10] == 0.3
    assert all(a >= b for a, b in itertools.pairwise(ours[10:]))
    assert ours[-1] == pytest.approx(rates[-1], abs=0.3 * 0.01)


def test_a_constant_schedule_is_constant() -> None:
    assert {learning_rate(Config(learning_rate=0.2), number, 9) for number in range(9)} == {0.2}


def test_the_schedule_reaches_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(Step, "set_learning_rate", lambda _self, rate: rates.append(rate))
    config = CONFIG.model_copy(update={"schedule": "one_cycle"})
    fit(network(), labelled_images(), None, config, seeds(), augmentation=False)
    assert rates == [learning_rate(config, number, 4) for number in range(4)]


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
        built.hidden2.weight[:128] = 0
        built.hidden2.bias[:128] = -1
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


@pytest.mark.parametrize(("classes", "whole"), [(100, True), (101, False)])
def test_with_many_classes_only_non_zero_confusions_are_kept(classes: int, whole: bool) -> None:
    logits = functional.one_hot(torch.tensor([0, 0, 7, 0]), classes).float()
    found = evaluation.score(logits, torch.tensor([0, 5, 7, 5]))
    assert (found.confusion_matrix is not None) == whole
    assert found.confusions == (() if whole else ((0, 0, 1), (5, 0, 2), (7, 7, 1)))
    assert found.confusion_counts == {0: {0: 1}, 5: {0: 2}, 7: {7: 1}}


def test_diagnosis_removes_its_hooks() -> None:
    built = network(2)
    diagnose(built, labelled_images(10))
    assert not any(module._forward_hooks for module in built.modules())


def make_dead(module: nn.Module) -> None:
    """Set the layer so that its output after ReLU is always 0."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    assert module.bias is not None
    nn.init.zeros_(module.weight)
    nn.init.constant_(module.bias, -1.0)


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
