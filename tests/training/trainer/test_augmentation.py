"""Flips and padded crops."""

import numpy as np
import torch
from torch import Tensor

from training.experiments.config import REPORT, Policy
from training.trainer.augmentation import GREY, apply_cutmix, augment


def pictures(count: int) -> Tensor:
    """Random pictures without a black pixel, so that padding can be told from them."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


MIRRORED = Policy(padding=(4, 3, 2, 1), reflect=True)


def augmented(images: Tensor, seed: int = 0, policy: Policy = REPORT) -> Tensor:
    return augment(images, torch.Generator().manual_seed(seed), policy)


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


def test_what_is_shifted_in_may_be_the_mirror_image() -> None:
    image = pictures(1)
    crops = set()
    for flip in (False, True):
        pixels = image[0].numpy()[:, :, ::-1] if flip else image[0].numpy()
        padded = np.pad(pixels, ((0, 0), (2, 1), (4, 3)), mode="reflect")
        for top in range(4):
            for left in range(8):
                crop = padded[:, top : top + 32, left : left + 32]
                crops.add(np.ascontiguousarray(crop).tobytes())
    made = augmented(image.expand(1500, -1, -1, -1), policy=MIRRORED)
    assert {one.numpy().tobytes() for one in made} == crops


def test_a_cut_out_is_one_grey_square_that_may_lie_across_the_edge() -> None:
    images = torch.zeros(3000, 3, 32, 32, dtype=torch.uint8)
    policy = Policy(padding=(0, 0, 0, 0), cutout=6)
    cut = augmented(images, policy=policy) == GREY
    assert (cut == cut[:, :1]).all()  # the same in each channel
    tall, wide = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert torch.equal(cut[:, 0].sum((1, 2)), tall * wide)  # a full rectangle
    assert set(tall.tolist()) == set(wide.tolist()) == {3, 4, 5, 6}
    assert cut.any(0).all()  # every pixel may be hit


def test_without_a_cut_out_nothing_is_cut() -> None:
    images = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)
    assert not augmented(images, policy=MIRRORED).any()


def mixed(share: float, count: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Images of one value each, what became of them, and what is still their own."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    return images, *apply_cutmix(images, torch.Generator().manual_seed(1), share)


def test_a_mixed_image_holds_one_box_of_the_image_before_it() -> None:
    images, made, own = mixed(1.0)
    for position, (image, kept) in enumerate(zip(made, own, strict=True)):
        foreign = image[0] != images[position, 0]
        assert set(image[:, foreign].flatten().tolist()) <= {int(images[position - 1, 0, 0, 0])}
        rows, columns = foreign.any(1), foreign.any(0)
        assert torch.equal(foreign, rows[:, None] & columns[None, :])
        assert int(rows.diff().sum()) <= 2  # of one piece
        assert kept.item() == 1 - foreign.float().mean().item()
    assert own.min() < 0.3  # a box is cut at the edges
    assert own.max() > 0.9


def test_only_a_share_of_the_images_is_mixed() -> None:
    images, made, own = mixed(0.5, count=200)
    untouched = (made == images).flatten(1).all(1)
    assert 0.4 < untouched.float().mean() < 0.65
    assert own[untouched].min() == 1
    images, made, own = mixed(0.0)
    assert torch.equal(made, images)
    assert own.min() == 1
