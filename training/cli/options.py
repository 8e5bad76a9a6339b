"""Options that several commands of `python -m training` share."""

from pathlib import Path
from typing import Annotated

import typer

from training.bundle.manifest import GalleryImages

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="KINDRED_DATA",
        help="Images: a folder with one folder per class, CIFAR-10's batches, or an archive of "
        "either. Default: CIFAR-10, downloaded.",
        show_default=False,
    ),
]
Root = Annotated[
    Path, typer.Option(help="Folder with experiments/, checkpoints/, bundles/, data/ and starter/.")
]
Seed = Annotated[
    int, typer.Option(help="Seed of the initial weights, the image order and the augmentation.")
]
SplitSeed = Annotated[
    int, typer.Option(help="Seed of the 70:15:15 split into train, validation and test.", min=0)
]
Device = Annotated[
    str, typer.Option(help="Device: cpu, cuda, cuda:1, or auto for a GPU if there is one.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the new bundle. Default: a folder in bundles/ named after the data, to "
        "which bundles/current then points.",
        show_default=False,
    ),
]
PerClass = Annotated[
    int | None,
    typer.Option(
        help="Gallery images of each class. Default: all test images.", min=1, show_default=False
    ),
]
Pixels = Annotated[bool, typer.Option(help="Store the gallery's images in the bundle.")]
Half = Annotated[bool, typer.Option(help="Store weights and flat indexes as fp16, not fp32.")]
Recall = Annotated[
    float,
    typer.Option(
        help="Target recall@10 of the index: the share of the exact ten nearest that a search "
        "returns, from 0 to 1.",
        min=0,
        max=1,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        help="Epochs of training. Default: those of the experiment.", min=1, show_default=False
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop if an image cannot be read. Default: leave it out.")
]
GalleryOption = Annotated[
    GalleryImages | None,
    typer.Option(
        help="Images to search: all, or those of the test split alone. Default: all of own "
        "images, and the test split of CIFAR-10.",
        show_default=False,
    ),
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--bundle", help="Folder of the bundle. Default: bundles/current.", show_default=False
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        help="Layers that can be searched, separated by commas, such as conv2,conv3,logits. The "
        "network's own are always among them. Default: these and the last hidden layer.",
        show_default=False,
    ),
]
Maps = Annotated[bool, typer.Option(help="Lay out a map of the gallery at each layer.")]
Decoders = Annotated[
    bool,
    typer.Option(
        help="Train decoders, which draw what each layer keeps of an image. A network that comes "
        "from a bundle with decoders keeps those."
    ),
]
