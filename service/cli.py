"""The command line of the service: `python -m service --help`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.app import create_app
from service.errors import KindredError, StorageError, UnavailableError
from service.gallery.factory import open_gallery
from service.gallery.protocol import Gallery
from service.server.process import (
    BindError,
    bind,
    raise_file_limit,
    run,
    tune_garbage_collector,
)
from service.settings import Settings, default_bundle, variable, warn_of_former_names
from service.telemetry import logs
from training.bundle import BundleError, DeviceError, load

command = typer.Typer(add_completion=False)
gallery = typer.Typer(
    no_args_is_help=True, help="Back up or restore the gallery. See KINDRED_GALLERY."
)
command.add_typer(gallery, name="gallery")


@command.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    bundle: Annotated[Path | None, typer.Option(help="Folder to serve.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any port that is free.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda[:n].")] = None,
) -> None:
    """Serve a bundle. Every setting is an environment variable KINDRED_*; options override them."""
    if context.invoked_subcommand is not None:
        return
    given = {"bundle": bundle, "host": host, "port": port, "device": device}
    try:
        settings = Settings.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
        logs.configure(settings.log_format, settings.log_level)
        warn_of_former_names()
        listener = bind(settings.host, settings.port)
        tune_garbage_collector()
        raise_file_limit()
        app = create_app(settings)
    except ValidationError as error:
        warn_of_former_names()
        reasons = "; ".join(
            f"{variable('_'.join(map(str, reason['loc'])))}: {reason['msg']}"
            for reason in error.errors()
        )
        raise _startup_error(f"the settings do not fit: {reasons}") from error
    except (BundleError, DeviceError, StorageError, UnavailableError, BindError) as error:
        raise _startup_error(str(error)) from error
    run(app, settings, listener)


def _startup_error(reason: str) -> typer.Exit:
    Console(stderr=True).print(f"[bold red]error:[/] {reason}", highlight=False, soft_wrap=True)
    return typer.Exit(1)


if __name__ == "__main__":
    command()


BundleOption = Annotated[Path | None, typer.Option(help="The bundle that it belongs to.")]


@gallery.command("export")
def export_gallery(
    file: Annotated[Path, typer.Argument(help="A Parquet file, which is replaced.")],
    bundle: BundleOption = None,
) -> None:
    """Write all images to a file: ids, labels, attributes, pictures and vectors.

    The service may run meanwhile: the file has the images that there are when this begins.
    """
    from service.gallery import backup  # noqa: PLC0415 - see above

    with _opened(bundle) as opened, _progress() as progress:
        task = progress.add_task("writing", total=len(opened))
        count = backup.write(opened, file, lambda images: progress.advance(task, images))
    typer.echo(f"{count} images in {file}")


@gallery.command("import")
def import_gallery(
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
    from service.gallery import backup  # noqa: PLC0415 - see above

    if mirror and len(files) > 1:
        raise typer.BadParameter("--mirror is for one file: what is not in it is removed")
    with _opened(bundle) as opened, _progress() as progress:
        task = progress.add_task("reading", total=sum(map(backup.count, files)))
        all_said = [
            backup.read(
                opened,
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
    from service.gallery.backup import BackupError  # noqa: PLC0415 - see above

    try:
        settings = Settings()
        warn_of_former_names()
        opened = open_gallery(settings.gallery, load(bundle or settings.bundle or default_bundle()))
        try:
            yield opened
        finally:
            opened.close()
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
