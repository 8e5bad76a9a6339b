"""Tests of trainings that are stopped and continue after their last finished epoch."""

from pathlib import Path

import pytest
import torch

from tests.support.factories import network, seeds
from tests.training.trainer.scripted import labelled_images
from training.experiments.config import Config
from training.experiments.record import Epoch
from training.models.blocknet import BlockNet
from training.trainer.fit import fit
from training.trainer.resume import Resume

pytestmark = pytest.mark.slow

CONFIG = Config(
    epochs=3, batch_size=12, precision="fp32", schedule="one_cycle", optimizer="muon"
)  # both optimizers, and a learning rate that depends on the step


def train(
    resume: Resume | None, *, stop_after: int | None = None, steps: list[int] | None = None
) -> tuple[BlockNet, tuple[Epoch, ...]]:
    """Train with every kind of random draw; `stop_after` interrupts after that epoch."""

    def interrupt(done: Epoch) -> None:
        if done.epoch == stop_after:
            raise KeyboardInterrupt

    built, data = network(dropout=0.2, batch_norm=True), labelled_images(30)
    held_out = labelled_images(10, start=100)
    made = fit(
        built,
        data,
        held_out,
        CONFIG,
        seeds(3),
        augmentation=True,
        on_step=lambda: steps.append(1) if steps is not None else None,
        on_epoch=interrupt,
        resume=resume,
    )
    return built, made.curves


def losses(curves: tuple[Epoch, ...]) -> list[tuple[float, float | None]]:
    return [(one.train_loss, one.validation_loss) for one in curves]


@pytest.fixture
def resume(tmp_path: Path) -> Resume:
    return Resume(tmp_path / "checkpoints" / "run.safetensors", "run")


def test_a_stopped_training_continues_as_if_it_had_not_been_stopped(resume: Resume) -> None:
    whole, expected = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(resume, stop_after=2)
    torch.manual_seed(9)  # the caller's random state must not matter
    steps: list[int] = []
    continued, curves = train(resume, steps=steps)
    assert losses(curves) == losses(expected)
    assert len(steps) == 9  # the bar shows the steps of earlier epochs as done
    weights = whole.state_dict()
    assert all(torch.equal(one, weights[name]) for name, one in continued.state_dict().items())


def test_finished_epochs_are_not_trained_again(resume: Resume) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(resume, stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(resume, stop_after=2)
    _, curves = train(resume)
    assert [one.epoch for one in curves] == [1, 2, 3]


@pytest.mark.parametrize("damage", ["other run", "cut off", "other network"])
def test_the_state_of_another_run_or_a_damaged_file_is_not_used(
    resume: Resume, damage: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(resume, stop_after=1)
    if damage == "other run":
        resume = Resume(resume.file, "another run")
    elif damage == "cut off":
        resume.file.write_bytes(resume.file.read_bytes()[:5000])
    else:
        built, data = network(conv_blocks=3), labelled_images(30)
        made = fit(built, data, None, CONFIG, seeds(3), augmentation=False, resume=resume)
        assert len(made.curves) == 3
        return
    assert losses(train(resume)[1]) == losses(train(None)[1])
