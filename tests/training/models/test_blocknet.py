"""`BlockNet`: its parameters, the order of its operations, its layers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.factories import network
from training.models.architecture import Architecture
from training.models.blocknet import BlockNet
from training.models.layers import Layer

DIMENSIONS: dict[Layer, int] = {
    "conv1": 64 * 16 * 16,
    "conv2": 128 * 8 * 8,
    "conv3": 256 * 4 * 4,
    "penultimate": 512,
    "logits": 10,
}


def images(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("conv_blocks", "convolutions", "flat"),
    [
        (2, [(32, 3), (64, 32), (128, 64), (128, 128)], 8192),
        (3, [(32, 3), (64, 32), (128, 64), (128, 128), (256, 128), (256, 256)], 4096),
    ],
)
def test_the_parameters_have_the_reports_shapes(
    conv_blocks: int, convolutions: list[tuple[int, int]], flat: int
) -> None:
    shapes = [tuple(p.shape) for name, p in network(conv_blocks).named_parameters() if "w" in name]
    head = [(1024, flat), (512, 1024), (10, 512)]
    assert shapes == [(*pair, 3, 3) for pair in convolutions] + head


@pytest.mark.parametrize(("conv_blocks", "norms"), [(2, [64, 128]), (3, [64, 128, 256])])
def test_batch_norm_adds_one_norm_per_block(conv_blocks: int, norms: list[int]) -> None:
    built = network(conv_blocks, batch_norm=True)
    found = [m.num_features for m in built.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert found == norms


@pytest.mark.parametrize("conv_blocks", [2, 3])
def test_every_layer_has_its_dimension(conv_blocks: int) -> None:
    built = network(conv_blocks).eval()
    expected = {layer: DIMENSIONS[layer] for layer in built.layers}
    found = built.representations(images(), built.layers)
    assert {layer: vectors.shape[1] for layer, vectors in found.items()} == expected


def test_a_wider_network_has_more_channels_and_hidden_units_but_the_same_input() -> None:
    architecture = Architecture(classes=10, conv_blocks=3, batch_norm=True, dropout=0, width=2)
    wide = BlockNet(architecture).eval()
    found = wide.representations(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), wide.layers)
    lengths = {name: vectors.shape[1] for name, vectors in found.items()}
    assert lengths == {layer.name: layer.length for layer in wide.spec.layers}
    assert (lengths["conv2"], lengths["penultimate"], lengths["logits"]) == (16384, 1024, 10)


def test_a_network_of_two_blocks_has_no_conv3() -> None:
    assert "conv3" not in network(2).layers
    with pytest.raises(ValueError, match=r"no layer \['conv3'\]; this network has conv1, conv2"):
        network(2).representations(images(), ["conv3"])


def test_an_unknown_layer_is_rejected_by_name() -> None:
    with pytest.raises(ValueError, match=r"conv9.*conv1, conv2, conv3, penultimate, logits"):
        network(3).representations(images(), ["conv9"])  # type: ignore[list-item]  # on purpose


def test_a_block_computes_conv_relu_conv_relu_pool_norm() -> None:
    block = network(3, batch_norm=True).eval().blocks[0]
    norm = block.get_submodule("norm")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    norm.running_mean = torch.linspace(0, 1, 64)  # otherwise the norm would change almost nothing
    torch.nn.init.constant_(
        norm.weight, -1.0
    )  # otherwise a norm before the pool would give the same
    weights = dict(block.named_parameters())
    hidden = images().float()
    for name in ("conv1", "conv2"):
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        hidden = functional.conv2d(hidden, kernel, bias, padding=1).clamp(min=0)
    expected = norm(hidden.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1)))
    assert torch.allclose(block(images().float()), expected, atol=1e-4)


def test_pooling_before_the_second_relu_gives_bit_identical_gradients() -> None:
    built = network(2)
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    block = built.blocks[0]
    conv1, conv2 = (block.get_submodule(name) for name in ("conv1", "conv2"))
    gradients = []
    for out in (
        block(inputs),
        functional.max_pool2d(functional.relu(conv2(functional.relu(conv1(inputs)))), 2),
    ):
        built.zero_grad()
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        gradients.append([one.grad.clone() for one in block.parameters() if one.grad is not None])
    assert len(gradients[0]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_conv2_is_flattened_channel_major() -> None:
    built = network(3).eval()
    end_of_block_2: list[Tensor] = []
    built.blocks[1].register_forward_hook(lambda _m, _i, output: end_of_block_2.append(output))
    flat = built.representations(images(), ["conv2"])["conv2"]
    assert torch.equal(flat.view(-1, 128, 8, 8), end_of_block_2[0])


def test_forward_returns_the_logits() -> None:
    built = network(3, batch_norm=True).eval()
    assert torch.equal(built(images()), built.representations(images(), ["logits"])["logits"])


def test_penultimate_is_the_input_of_the_output_layer() -> None:
    built = network(2).eval()
    found = built.representations(images(), ["penultimate", "logits"])
    assert torch.equal(built.output(found["penultimate"]), found["logits"])
    assert (found["penultimate"] >= 0).all()


def test_dropout_is_active_in_training_mode() -> None:
    built = network(2, dropout=0.2).train()
    with torch.random.fork_rng():
        assert not torch.equal(built(images()), built(images()))


def test_dropout_is_inactive_in_evaluation_mode() -> None:
    built, plain = network(2, dropout=0.2).eval(), network(2).eval()
    assert torch.equal(built(images()), plain(images()))


def test_dropout_follows_both_hidden_layers_with_its_probability() -> None:
    built = network(2, dropout=0.2)
    dropped: list[tuple[int, float]] = []

    def keep(_module: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        share = (output[inputs[0] != 0] == 0).float().mean().item()
        dropped.append((output.shape[1], share))

    built.dropout.register_forward_hook(keep)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built.train()(images(32))
    assert [width for width, _ in dropped] == [1024, 512]
    assert [share for _, share in dropped] == pytest.approx([0.2, 0.2], abs=0.02)


def test_the_network_scales_and_normalises_pixels_itself() -> None:
    hyperparameters = {"classes": 2, "conv_blocks": 2, "batch_norm": False, "dropout": 0.0}
    normalised = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    built = BlockNet(Architecture.model_validate({**hyperparameters, **normalised}))
    block_inputs: list[Tensor] = []
    built.blocks[0].register_forward_pre_hook(lambda _m, inputs: block_inputs.append(inputs[0]))
    built(torch.full((1, 3, 32, 32), 51, dtype=torch.uint8))  # 51 / 255 = 0.2
    expected = torch.tensor([(0.2 - 0.1) / 0.5, 0.0, (0.2 - 0.3) / 0.7])
    assert torch.allclose(block_inputs[0][0, :, 0, 0], expected, atol=1e-6)


def test_there_is_one_logit_per_class() -> None:
    assert network(2, classes=7).eval()(images()).shape == (3, 7)


def test_centred_logits_have_the_mean_0_and_the_same_probabilities() -> None:
    built = network(3).eval()
    before = built(images())
    built.centre_logits()
    after = built(images())
    assert before.mean(1).abs().min() > 1e-3
    assert torch.allclose(after.mean(1), torch.zeros(3), atol=1e-6)
    assert torch.allclose(before.softmax(1), after.softmax(1), atol=1e-6)
    again = built.output.weight.clone()
    built.centre_logits()
    assert torch.allclose(built.output.weight, again, atol=1e-7)
