"""Tests of flips, padded crops, cut-outs and CutMix."""

import numpy as np
import torch
from torch import Tensor

from training.experiments.config import REPORT, Policy
from training.trainer.augmentation import GREY, apply_cutmix, augment


def images_without_black(count: int) -> Tensor:
    """Draw random images without black pixels, so that padding is recognisable."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(1, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


MIRRORED = Policy(padding=(4, 3, 2, 1), reflect=True)


def augmented(images: Tensor, seed: int = 0, policy: Policy = REPORT) -> Tensor:
    return augment(images, torch.Generator().manual_seed(seed), policy)


def all_crops(image: Tensor) -> dict[bytes, tuple[bool, int, int]]:
    """Return all crops of the report's policy: padding left 0, top 2, right 3, bottom 4."""
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
    images = images_without_black(24)
    for image, made in zip(images, augmented(images), strict=True):
        assert made.numpy().tobytes() in all_crops(image)


def test_every_flip_and_every_crop_is_drawn() -> None:
    image = images_without_black(1)
    crops = all_crops(image[0])
    drawn = {crops[made.numpy().tobytes()] for made in augmented(image.expand(1500, -1, -1, -1))}
    assert drawn == set(crops.values())


def test_shape_and_dtype_do_not_change() -> None:
    made = augmented(images_without_black(5))
    assert (made.shape, made.dtype) == ((5, 3, 32, 32), torch.uint8)


def test_the_result_is_channels_last_in_memory() -> None:
    assert augmented(images_without_black(5)).is_contiguous(memory_format=torch.channels_last)


def test_the_same_seed_gives_the_same_images() -> None:
    images = images_without_black(16)
    assert torch.equal(augmented(images, seed=3), augmented(images, seed=3))


def test_another_seed_gives_other_images() -> None:
    images = images_without_black(16)
    assert not torch.equal(augmented(images, seed=3), augmented(images, seed=4))


def test_the_input_images_do_not_change() -> None:
    images = images_without_black(4)
    before = images.clone()
    augmented(images)
    assert torch.equal(images, before)


def test_the_default_generator_is_not_used() -> None:
    before = torch.get_rng_state()
    augmented(images_without_black(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_reflect_pads_with_the_mirrored_image() -> None:
    image = images_without_black(1)
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


def test_a_cut_out_is_one_grey_square_that_may_cross_the_edge() -> None:
    images = torch.zeros(3000, 3, 32, 32, dtype=torch.uint8)
    policy = Policy(padding=(0, 0, 0, 0), cutout=6)
    cut = augmented(images, policy=policy) == GREY
    assert (cut == cut[:, :1]).all()  # equal in each channel
    tall, wide = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert torch.equal(cut[:, 0].sum((1, 2)), tall * wide)  # a full rectangle
    assert set(tall.tolist()) == set(wide.tolist()) == {3, 4, 5, 6}
    assert cut.any(0).all()  # any pixel can be cut


def test_without_cut_out_no_pixel_is_grey() -> None:
    images = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)
    assert not augmented(images, policy=MIRRORED).any()


def mixed(share: float, count: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Return images of one value each, the images after CutMix, and their own fraction."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    return images, *apply_cutmix(images, torch.Generator().manual_seed(1), share)


def test_cutmix_pastes_one_box_of_the_previous_image() -> None:
    images, made, own = mixed(1.0)
    for position, (image, kept) in enumerate(zip(made, own, strict=True)):
        pasted = image[0] != images[position, 0]
        assert set(image[:, pasted].flatten().tolist()) <= {int(images[position - 1, 0, 0, 0])}
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns[None, :])
        assert int(rows.diff().sum()) <= 2  # one box
        assert kept.item() == 1 - pasted.float().mean().item()
    assert own.min() < 0.3  # boxes are cut off at the edges
    assert own.max() > 0.9


def test_cutmix_changes_only_a_share_of_the_images() -> None:
    images, made, own = mixed(0.5, count=200)
    untouched = (made == images).flatten(1).all(1)
    assert 0.4 < untouched.float().mean() < 0.65
    assert own[untouched].min() == 1
    images, made, own = mixed(0.0)
    assert torch.equal(made, images)
    assert own.min() == 1
