"""Tests of one training step, eager and as a CUDA graph."""

import pytest
import torch

from tests.support.factories import network, seeds, tiny
from training.data.tensors import LabelledTensors
from training.experiments.config import REPORT, Config, Policy
from training.trainer.augmentation import apply_cutmix, augment
from training.trainer.fit import fit
from training.trainer.train_step import GraphedStep, Step, step_for

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CONFIG = Config(precision="fp32", batch_size=12, epochs=2)
CPU = torch.device("cpu")


def data_on(device: torch.device, count: int = 29) -> LabelledTensors:
    dataset = tiny(per_class=3)
    return LabelledTensors(dataset.images[:count].to(device), dataset.labels[:count].to(device))


def warmed_up_step(
    device: torch.device, *, dropout: float = 0.0, policy: Policy | None = None
) -> Step:
    config = CONFIG.model_copy(update={"cuda_graph": device.type == "cuda"})
    built = network(dropout=dropout).to(device).train()
    generator = torch.Generator(device).manual_seed(0)
    step = step_for(config)(built, data_on(device), config, "fp32", policy, generator)
    step.warm_up([12])
    return step


def weights(step: Step) -> torch.Tensor:
    return step.network.get_parameter("output.weight").detach().clone()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_a_step_uses_the_learning_rate_that_was_set(device: str) -> None:
    step = warmed_up_step(torch.device(device))
    batch = torch.arange(12, device=device)
    before = weights(step)
    step.set_learning_rate(0.0)
    step(batch)
    assert torch.equal(weights(step), before)
    step.set_learning_rate(0.01)
    step(batch)
    moved = (weights(step) - before).abs().max().item()
    assert moved == pytest.approx(0.01, rel=0.4)  # Adam moves by about the learning rate


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_running_metrics_sum_losses_and_hits_over_images(device: str) -> None:
    step = warmed_up_step(torch.device(device))
    step.set_learning_rate(0.0)
    batch = torch.arange(12, device=device)
    step(batch)
    once = step.running_metrics.clone()
    step(batch)
    assert torch.allclose(step.running_metrics, 2 * once)
    with torch.no_grad():
        data = data_on(torch.device(device))
        logits = step.network(data.images[:12])
        loss = torch.nn.functional.cross_entropy(logits, data.labels[:12], reduction="sum")
        hits = (logits.argmax(1) == data.labels[:12]).sum()
    assert once.tolist() == pytest.approx([loss.item(), hits.item()], rel=1e-3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("what", ["dropout", "augmentation"])
def test_every_step_draws_new_random_numbers(device: str, what: str) -> None:
    step = warmed_up_step(
        torch.device(device),
        dropout=0.5 if what == "dropout" else 0.0,
        policy=REPORT if what == "augmentation" else None,
    )
    step.set_learning_rate(0.0)
    losses = set()
    for _ in range(4):
        step.running_metrics.zero_()
        step(torch.arange(12, device=device))
        losses.add(step.running_metrics[0].item())
    assert len(losses) == 4


def test_the_loss_of_a_cutmix_image_weighs_both_labels_by_area() -> None:
    policy = Policy(cutmix=1.0)
    step = warmed_up_step(CPU, policy=policy)
    step.set_learning_rate(0.0)
    generator = torch.Generator().manual_seed(0)
    images, labels = data_on(CPU).images[:12], data_on(CPU).labels[:12]
    for _ in range(4):  # three warm-up steps, then the step itself
        seen, own = apply_cutmix(augment(images, generator, policy), generator, policy.cutmix)
    step(torch.arange(12))
    targets = torch.zeros(12, step.network.architecture.classes)
    targets[range(12), labels] += own
    targets[range(12), labels.roll(1)] += 1 - own
    with torch.no_grad():
        logits = step.network.train()(seen)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert step.running_metrics[0].item() == pytest.approx(expected.item(), rel=1e-3)


def test_on_a_cpu_the_step_is_eager() -> None:
    assert type(warmed_up_step(CPU)) is Step


@needs_gpu
def test_on_a_gpu_the_step_is_a_graph() -> None:
    assert type(warmed_up_step(torch.device("cuda"))) is GraphedStep


@needs_gpu
def test_a_graph_gives_the_losses_of_eager_steps() -> None:
    """Includes the shorter last batch: 29 images in batches of 12."""
    device = torch.device("cuda")
    losses = []
    for graph in (True, False):
        config = CONFIG.model_copy(update={"cuda_graph": graph, "schedule": "one_cycle"})
        found = fit(
            network(batch_norm=True), data_on(device), None, config, seeds(), augmentation=True
        )
        losses.append([one.train_loss for one in found.curves])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@needs_gpu
def test_a_gpu_gives_the_losses_of_the_cpu() -> None:
    """Uses no random draws, which differ between devices."""
    losses = []
    for device in (torch.device("cuda"), CPU):
        config = CONFIG.model_copy(update={"cuda_graph": device.type == "cuda"})
        found = fit(
            network(batch_norm=True), data_on(device), None, config, seeds(), augmentation=False
        )
        losses.append([one.train_loss for one in found.curves])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
