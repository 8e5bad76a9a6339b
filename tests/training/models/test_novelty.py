"""Novelty: the distance of an image to the training images."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file, save_file

from tests.support.images import HeldOut
from tests.support.processes import ROOT
from training import bundle
from training.bundle import Bundle
from training.data.preprocessing import to_pixels
from training.embedding.embed import embed
from training.index.cosine import Vectors
from training.models import novelty
from training.models.architecture import Architecture
from training.models.layers import Layer
from training.models.novelty import THRESHOLD, Fitted, NoveltyFileError, fit

CPU = torch.device("cpu")
LAYERS: tuple[Layer, ...] = ("conv2", "penultimate")
SPEC = Architecture(classes=10, conv_blocks=3, batch_norm=True, dropout=0.0).spec

LayerVectors = dict[Layer, npt.NDArray[np.float32]]


def vectors(count: int, seed: int) -> LayerVectors:
    """Draw vectors at conv2 and the penultimate layer, scattered around two directions."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).random((2, 8192 + 512))
    made = centres[np.arange(count) % 2] + random.normal(0, 0.2, (count, 8192 + 512))
    conv2, penultimate = np.split(made.astype(np.float32), [8192], axis=1)
    return {"conv2": conv2, "penultimate": penultimate}


def fitted() -> Fitted:
    found = fit(vectors(400, seed=0), vectors(800, seed=1), SPEC)
    assert found
    return found


def novelty_by(fitted: Fitted, vectors: LayerVectors) -> Vectors:
    return fitted.novelty(*(vectors[layer] for layer in LAYERS))


def test_95_percent_of_images_like_the_references_are_familiar() -> None:
    found = fitted()
    familiar = (novelty_by(found, vectors(2000, seed=2)) <= THRESHOLD).mean()
    assert familiar == pytest.approx(0.95, abs=0.03)
    assert found.familiar_share == pytest.approx(0.95, abs=0.04)


def test_novelty_of_images_like_the_references_is_uniform_in_0_to_1() -> None:
    values = novelty_by(fitted(), vectors(2000, seed=2))
    shares = np.histogram(values, bins=4, range=(0, 1))[0] / len(values)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize("layer", ["conv2", "penultimate"])
def test_an_image_far_in_one_view_has_novelty_1(layer: Layer) -> None:
    seen = vectors(5, seed=3)
    other = np.random.default_rng(4).random(seen[layer].shape) ** 8
    assert novelty_by(fitted(), {**seen, layer: other.astype(np.float32)}).min() == 1


def test_novelty_is_independent_of_the_length_of_the_vectors() -> None:
    seen = vectors(20, seed=5)
    brighter: LayerVectors = {layer: 3 * found for layer, found in seen.items()}
    one_image = 1 / 400  # of the distances: rounding may exchange two of them
    assert novelty_by(fitted(), brighter).tolist() == pytest.approx(
        novelty_by(fitted(), seen).tolist(), abs=2 * one_image
    )


def test_a_loaded_novelty_model_gives_the_same_values(tmp_path: Path) -> None:
    found = fitted()
    novelty.write(found.novelty, tmp_path / "novelty.safetensors")
    read = Fitted(novelty.read(tmp_path / "novelty.safetensors"), 0)
    assert np.array_equal(
        novelty_by(read, vectors(50, seed=6)), novelty_by(found, vectors(50, seed=6))
    )
    assert len(read.novelty) == len(found.novelty) == 400


@pytest.mark.parametrize("what", ["missing", "damaged", "another", "other dimensions"])
def test_a_file_that_is_not_a_novelty_model_is_rejected_by_name(tmp_path: Path, what: str) -> None:
    file = tmp_path / "novelty.safetensors"
    if what == "damaged":
        file.write_bytes(b"nothing")
    elif what == "another":
        file.write_bytes((ROOT / "starter" / "model.safetensors").read_bytes())
    elif what == "other dimensions":
        novelty.write(fitted().novelty, file)
        state = load_file(file)
        save_file({**state, "texture": state["texture"].ravel()}, file)
    with pytest.raises(NoveltyFileError, match=r"novelty\.safetensors"):
        novelty.read(file)


def test_too_few_held_out_images_give_no_model() -> None:
    assert fit(vectors(100, seed=0), vectors(50, seed=1), SPEC) is None


def test_rare_classes_are_not_all_unfamiliar() -> None:
    """The held-out images that set the distances include every class in its proportion."""
    known, held_out = vectors(400, seed=0), vectors(1200, seed=1)
    rare = np.arange(1200) >= 1080
    for layer in held_out:
        scattered = np.random.default_rng(2).normal(0, 0.4, held_out[layer][rare].shape)
        held_out[layer][rare] += scattered.astype(np.float32)
    found = fit(known, held_out, SPEC)
    assert found
    others: LayerVectors = {layer: one[rare] for layer, one in held_out.items()}
    familiar = novelty_by(found, others) <= THRESHOLD
    assert 0.2 < familiar.mean() < 0.9
    assert found.familiar_share == pytest.approx(0.95, abs=0.04)


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return bundle.load(ROOT / "starter")


def novelty_of(starter: Bundle, pixels: npt.NDArray[np.uint8]) -> Vectors:
    assert starter.novelty
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    found = embed(starter.network, images, ("conv2", "penultimate"), CPU)
    return starter.novelty(found["conv2"], found["penultimate"])


def noise(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    return random.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def flat(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    return np.full((32, 32, 3), random.integers(0, 256, 3), np.uint8)


def text(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    page = Image.new("RGB", (256, 256), "white")
    letters = random.choice(list("abcdefghijklmnopqrstuvwxyz  "), (10, 24))
    lines = "\n".join("".join(line) for line in letters)
    ImageDraw.Draw(page).text((8, 8), lines, fill="black", font=ImageFont.load_default(20))
    return to_pixels(page)


@pytest.mark.parametrize("what", ["noise", "flat", "text"])
def test_noise_flat_colours_and_text_are_unfamiliar_to_the_starter_network(
    starter: Bundle, what: str
) -> None:
    random = np.random.default_rng(0)
    draw = {"noise": noise, "flat": flat, "text": text}[what]
    values = novelty_of(starter, np.stack([draw(random) for _ in range(100)]))
    unfamiliar = (values > THRESHOLD).mean().item()
    print(f"{what}: {unfamiliar:.0%} of 100 images are unfamiliar")
    assert unfamiliar >= 0.9


def test_held_out_images_are_familiar_to_the_starter_network(
    starter: Bundle, held_out: HeldOut
) -> None:
    metadata = starter.manifest.novelty
    assert metadata
    assert metadata.familiar_share == pytest.approx(0.95, abs=0.02)
    values = novelty_of(starter, held_out.pixels)
    assert (values <= THRESHOLD).mean() == pytest.approx(0.95, abs=0.03)
