"""`python -m service gallery …`: a backup of the gallery, and back.

What reads and writes the files is imported by these commands alone: it takes 30 MB of memory, and
the service begins in the same module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.errors import KindredError
from service.gallery import Gallery
from service.gallery.homes import open_gallery
from service.settings import Settings, default_bundle
from training.bundle import BundleError, load

command = typer.Typer(
    no_args_is_help=True, help="Back the gallery up, or bring a backup in. See KINDRED_GALLERY."
)

BundleOption = Annotated[Path | None, typer.Option(help="The bundle that it belongs to.")]


@command.command("export")
def write(
    file: Annotated[Path, typer.Argument(help="A Parquet file, which is replaced.")],
    bundle: BundleOption = None,
) -> None:
    """Write all images to a file: ids, labels, attributes, pictures and vectors.

    The service may run meanwhile: the file has the images that there are when this begins.
    """
    from service import backup  # noqa: PLC0415 - see above

    with _opened(bundle) as gallery, _progress() as progress:
        task = progress.add_task("writing", total=len(gallery))
        count = backup.write(gallery, file, lambda images: progress.advance(task, images))
    typer.echo(f"{count} images in {file}")


@command.command("import")
def read(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="What export wrote, or the shards of 'python -m training embed'.",
            exists=True,
            dir_okay=False,
        ),
    ],
    bundle: BundleOption = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Remove images that are not in the file.")
    ] = False,
) -> None:
    """Bring in the images of files; where an id is there already, the file's image holds.

    The service must not run on the same folder meanwhile.
    """
    from service import backup  # noqa: PLC0415 - see above

    if mirror and len(files) > 1:
        raise typer.BadParameter("--mirror is for one file: what is not in it is removed")
    with _opened(bundle) as gallery, _progress() as progress:
        task = progress.add_task("reading", total=sum(map(backup.count, files)))
        all_said = [
            backup.read(
                gallery,
                file,
                mirror=mirror,
                on_images=lambda images: progress.advance(task, images),
            )
            for file in files
        ]
    typer.echo(
        f"{sum(said.added for said in all_said)} added, "
        f"{sum(said.changed for said in all_said)} changed, "
        f"{sum(said.unchanged for said in all_said)} were there already, "
        f"{sum(said.removed for said in all_said)} removed"
    )


@contextmanager
def _opened(bundle: Path | None) -> Iterator[Gallery]:
    """The gallery that the settings name; what goes wrong ends the command with a line."""
    from service.backup import BackupError  # noqa: PLC0415 - see above

    try:
        settings = Settings()
        gallery = open_gallery(
            settings.gallery, load(bundle or settings.bundle or default_bundle())
        )
        try:
            yield gallery
        finally:
            gallery.close()
    except (BackupError, BundleError, KindredError, ValidationError) as error:
        said = error.detail if isinstance(error, KindredError) else str(error)
        Console(stderr=True).print(f"error: {said}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _progress() -> Progress:
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
