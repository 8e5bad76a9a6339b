"""Tests of `fit` and of the learning rate schedule."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from tests.support.factories import network, seeds
from tests.training.trainer.scripted import ScriptedLogits, labelled_images, predicted_as
from training.data.tensors import LabelledTensors
from training.experiments.config import Config
from training.experiments.record import Epoch
from training.models.blocknet import BlockNet
from training.trainer import train_step
from training.trainer.evaluation import evaluate
from training.trainer.fit import COLLAPSE_PATIENCE, DivergedError, FitResult, fit, learning_rate
from training.trainer.train_step import Step

pytestmark = pytest.mark.slow

CONFIG = Config(epochs=2, batch_size=12, precision="fp32")


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


def test_each_training_image_is_used_once_per_epoch_with_a_shorter_last_batch() -> None:
    steps: list[int] = []
    built, training = network(), labelled_images(29)
    seen: list[int] = []
    built.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    config = CONFIG.model_copy(update={"epochs": 1})
    fit(built, training, None, config, seeds(), augmentation=False, on_step=lambda: steps.append(1))
    assert seen[-3:] == [12, 12, 5]
    assert len(steps) == 3


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

    assert epochs(still, stop=True) == 6  # too few steps to be stopped early
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
