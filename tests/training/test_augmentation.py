"""Flips and padded crops."""

import numpy as np
import torch
from torch import Tensor

from training.augmentation import augment


def pictures(count: int) -> Tensor:
    """Random pictures without a black pixel, so that padding can be told from them."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def augmented(images: Tensor, seed: int = 0) -> Tensor:
    return augment(images, torch.Generator().manual_seed(seed))


def all_crops(image: Tensor) -> dict[bytes, tuple[bool, int, int]]:
    """Every crop that the report allows: padded by left 0, top 2, right 3, bottom 4."""
    found = {}
    for flip in (False, True):
        pixels = image.numpy()[:, :, ::-1] if flip else image.numpy()
        padded = np.pad(pixels, ((0, 0), (2, 4), (0, 3)))
        for top in range(7):
            for left in range(4):
                crop = padded[:, top : top + 32, left : left + 32]
                found[np.ascontiguousarray(crop).tobytes()] = (flip, top, left)
    return found


def test_every_output_is_a_crop_of_the_padded_image_flipped_or_not() -> None:
    images = pictures(24)
    for image, made in zip(images, augmented(images), strict=True):
        assert made.numpy().tobytes() in all_crops(image)


def test_every_flip_and_every_crop_is_drawn() -> None:
    image = pictures(1)
    crops = all_crops(image[0])
    drawn = {crops[made.numpy().tobytes()] for made in augmented(image.expand(1500, -1, -1, -1))}
    assert drawn == set(crops.values())


def test_shape_and_type_are_kept() -> None:
    made = augmented(pictures(5))
    assert (made.shape, made.dtype) == ((5, 3, 32, 32), torch.uint8)


def test_it_lies_channels_last_in_memory() -> None:
    assert augmented(pictures(5)).is_contiguous(memory_format=torch.channels_last)


def test_the_same_generator_gives_the_same_images() -> None:
    images = pictures(16)
    assert torch.equal(augmented(images, seed=3), augmented(images, seed=3))


def test_another_generator_gives_other_images() -> None:
    images = pictures(16)
    assert not torch.equal(augmented(images, seed=3), augmented(images, seed=4))


def test_the_images_themselves_stay_as_they_were() -> None:
    images = pictures(4)
    before = images.clone()
    augmented(images)
    assert torch.equal(images, before)


def test_nothing_is_drawn_from_the_default_generator() -> None:
    before = torch.get_rng_state()
    augmented(pictures(4))
    assert torch.equal(torch.get_rng_state(), before)
