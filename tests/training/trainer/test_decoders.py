"""The training of decoders, and the measure of how well they draw."""

import numpy as np
import pytest
import torch

from tests.support.factories import network
from tests.training.trainer.scripted import labelled_images
from training.embedding.embed import embed
from training.models.decoder import Decoder
from training.trainer import decoders
from training.trainer.decoders import BATCH_SIZE, measure, quality, steps_for, train

CPU = torch.device("cpu")


@pytest.mark.slow
def test_training_draws_better_pictures_and_leaves_the_network_as_it_is() -> None:
    built, images = network().eval(), labelled_images(40).images
    vectors = embed(built, images, built.layers, CPU)
    short, long = (train(built, images, CPU, steps=steps) for steps in (1, 25))
    assert tuple(long) == built.layers
    before, after = (measure(one, vectors, images) for one in (short, long))
    assert after["conv1"].psnr > before["conv1"].psnr + 1
    assert after["conv2"].psnr > before["conv2"].psnr
    again = embed(built, images, built.layers, CPU)
    assert all(np.array_equal(vectors[layer], again[layer]) for layer in built.layers)


def test_the_same_seed_trains_the_same_decoders() -> None:
    built, images = network().eval(), labelled_images(8).images
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train(built, images, CPU, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert weights(train(built, images, CPU, steps=2)["logits"]) == weights(first["logits"])
    assert weights(train(built, images, CPU, steps=2, seed=1)["logits"]) != weights(first["logits"])


def weights(decoder: Decoder) -> list[bytes]:
    return [weight.tobytes() for weight, _ in decoder.stages]


def test_few_images_are_seen_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "MAX_PASSES", 10)
    assert steps_for(BATCH_SIZE) == 10
    assert steps_for(BATCH_SIZE + 1) == 20


def test_equal_pictures_have_a_similarity_of_one() -> None:
    images = labelled_images(2).images.permute(0, 2, 3, 1).numpy()
    assert quality(images, images).ssim == pytest.approx(1)
    assert quality(images, images).psnr == 100


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    black = np.zeros((2, 32, 32, 3), np.uint8)
    assert quality(black, black + np.uint8(255)).psnr == pytest.approx(0, abs=1e-6)
    assert quality(black, black + np.uint8(51)).psnr == pytest.approx(13.979, abs=1e-3)


def test_the_similarity_is_that_of_scikit_image() -> None:
    """The expected value is `structural_similarity` of scikit-image 0.26, as in Wang et al."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    noisy = (images * 0.7 + random.normal(20, 25, images.shape)).clip(0, 255).round()
    expected = np.mean([0.8573174, 0.86058784, 0.8569171, 0.8575201])
    assert quality(images, noisy.astype(np.uint8)).ssim == pytest.approx(expected, abs=1e-4)
