"""Measures how well and how fast the maps of a bundle are laid out, beside umap-learn.

    python -m benchmarks.training.layouts --bundle bundles/current

Lays out the gallery at each layer, each layout beginning from the one before, by openTSNE as a
bundle has it. If umap-learn is installed (`pip install umap-learn`), it lays out the same principal
components. Prints seconds of the processor and trustworthiness. The bundle needs its pixels.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from training import bundle
from training.bundle import Vectors, normalise
from training.embedding.embed import embed
from training.experiments.environment import describe
from training.models.device import pick_device
from training.workflows import layouts

app = typer.Typer(add_completion=False)

Layout = tuple[Vectors, float]
"""The places, and the seconds of the processor."""


def lay_out_by_umap(components: Vectors, before: Vectors | None) -> Vectors:
    """Compute a layout of rows [N, K] by UMAP, from another layout or the first two columns."""
    from umap import UMAP  # noqa: PLC0415 - optional

    start = components[:, :2] if before is None else before
    low, high = start.min(axis=0), start.max(axis=0)
    scaled = 10 * (start - low) / np.maximum(high - low, 1e-9)
    umap = UMAP(init=scaled.astype(np.float32), n_epochs=200, n_jobs=torch.get_num_threads())
    return np.asarray(umap.fit_transform(components), np.float32)


@app.command()
def main(
    source: Annotated[Path, typer.Option("--bundle", help="Folder of the bundle.")] = Path(
        "bundles/current"
    ),
) -> None:
    """Print a table with a row for each layer."""
    loaded = bundle.load(source)
    assert loaded.gallery.pixels is not None, "the bundle has no pixels"  # noqa: S101
    pixels = np.ascontiguousarray(np.asarray(loaded.gallery.pixels).transpose(0, 3, 1, 2))
    images, device = torch.from_numpy(pixels), pick_device("cpu")
    methods = {"openTSNE": layouts.run_tsne}
    if find_spec("umap"):
        methods["umap-learn"] = lay_out_by_umap
    table = Table("layer", *(f"{name}, {what}" for name in methods for what in ("s", "trust")))
    before: dict[str, Vectors] = {}
    picked = layouts.sample(len(images), layouts.MAX_MEASURED)
    for layer in loaded.spec.pictured:
        vectors = normalise(embed(loaded.network, images, [layer.name], device)[layer.name])
        components = layouts.principal_components(vectors)
        cells = []
        for name, lay_out in methods.items():
            started = time.process_time()
            before[name] = lay_out(components, before.get(name))
            seconds = time.process_time() - started
            trust = layouts.measure_trustworthiness(vectors[picked], before[name][picked])
            cells += [f"{seconds:.1f}", f"{trust:.4f}"]
        table.add_row(layer.name, *cells)
    Console().print(f"{len(images)} images, {describe(device).cpu_model}", table)


if __name__ == "__main__":
    app()
