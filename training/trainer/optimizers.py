"""Builds the optimizers of a configuration: Adam, AdamW, and Muon for convolution kernels.

All can be captured in a CUDA graph; the learning rate is then a tensor that changes in place.
Knows parameters; nothing of images, losses or schedules.
"""

from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.experiments.config import Config

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 in the Newton-Schulz iteration (Jordan et al., 2024)."""
ITERATIONS: Final = 5


class Muon(Optimizer):
    """Orthogonalised momentum (Jordan et al., 2024) with decoupled weight decay.

    A kernel [out, in, height, width] is a matrix of `out` rows. The root mean square of its step
    is 0.2 learning rates, as for AdamW. Both can thus share a learning rate (Liu et al., 2025).
    PyTorch's own Muon takes only matrices, and cannot be captured in a CUDA graph.
    """

    def __init__(
        self,
        kernels: Iterable[Tensor],
        lr: float | Tensor,
        *,
        scale: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "scale": scale}
        super().__init__(kernels, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # returns no loss: it has none
        """Update every kernel that has a gradient."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                momentum = self._nesterov(kernel, kernel.grad, group["momentum"])
                direction = orthogonalize(momentum.flatten(1))
                rate = group["lr"] * group["scale"] * 0.2 * max(direction.shape) ** 0.5
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.sub_(rate * direction.view_as(kernel))

    def _nesterov(self, kernel: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Update the running average of gradients, and return Nesterov's momentum."""
        state = self.state[kernel]
        if not state:
            state["average"] = torch.zeros_like(gradient)
        average: Tensor = state["average"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Set the singular values of a matrix [M, N] to about 1 (0.7 to 1.2); keep its vectors.

    Uses 5 Newton-Schulz iterations in bf16, which is precise enough for a step.
    """
    first, third, fifth = COEFFICIENTS
    tall = len(matrix) > matrix.shape[1]
    found = (matrix.T if tall else matrix).bfloat16()
    found = found / (found.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = found @ found.T
        found = torch.addmm(
            found, torch.addmm(square, square, square, beta=third, alpha=fifth), found, beta=first
        )
    return (found.T if tall else found).to(matrix.dtype)


def build_optimizers(network: nn.Module, config: Config) -> tuple[Optimizer, ...]:
    """Build the optimizers of a network; each parameter belongs to exactly one of them."""
    parameters = [one for one in network.parameters() if one.requires_grad]
    rate: float | Tensor = config.learning_rate
    if config.cuda_graph:
        rate = torch.tensor(config.learning_rate, device=parameters[0].device)
    kernels = [one for one in parameters if one.ndim == 4] if config.optimizer == "muon" else []
    others = [one for one in parameters if not any(one is kernel for kernel in kernels)]
    undecayed = [] if config.decay_norms else _norm_parameters(network)
    decayed = [one for one in others if not any(one is norm for norm in undecayed)]
    groups: list[dict[str, object]] = [{"params": decayed}]
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    adam = torch.optim.AdamW if config.decay_decoupled else torch.optim.Adam
    made: tuple[Optimizer, ...] = (
        adam(
            groups,
            lr=rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=config.cuda_graph,
        ),
    )
    if kernels:
        scale, decay = config.kernel_rate, config.weight_decay
        made += (Muon(kernels, rate, scale=scale, weight_decay=decay),)
    return made


def _norm_parameters(network: nn.Module) -> list[Tensor]:
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return [parameter for norm in norms for parameter in norm.parameters()]
