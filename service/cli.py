"""The command line of the service: `python -m service --help`.

Reads settings and options, and turns errors into one line and exit status 1.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.app import create_app
from service.environment import warn_of_former_names
from service.errors import KindredError, StorageError, UnavailableError
from service.gallery.factory import open_gallery
from service.gallery.protocol import Gallery
from service.server import configuration
from service.server.memory import map_large_blocks
from service.server.process import (
    StartError,
    bind,
    run,
    tune_garbage_collector,
    within_file_limit,
)
from service.server.startup import start
from service.settings import Settings, default_bundle
from service.telemetry import logs
from training.bundle import BundleError, DeviceError, load

command = typer.Typer(add_completion=False)
gallery = typer.Typer(
    no_args_is_help=True, help="Back up or restore the gallery that KINDRED_GALLERY names."
)
command.add_typer(gallery, name="gallery")

BundleOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the bundle that the gallery belongs to. Default: KINDRED_BUNDLE, else the "
        "bundle that was built last, else the starter."
    ),
]


@command.callback(
    invoke_without_command=True,
    epilog="Settings:\n\n" + escape(configuration.overview()),
)
def serve(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the bundle to serve. Default: the one that was built last, else the "
            "starter."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on. Default: 127.0.0.1. Any other than loopback needs "
            "KINDRED_API_KEYS or KINDRED_ALLOW_ANONYMOUS=true."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port to listen on. Default: 8000. 0: any free port.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device of the network: auto, cpu or cuda[:n]. Default: auto, the first GPU, else "
            "the CPU."
        ),
    ] = None,
) -> None:
    """Serve a bundle over HTTP.

    Every setting is an environment variable KINDRED_*, listed below. Options override them.
    """
    if context.invoked_subcommand is not None:
        return
    settings = _read_settings(bundle=bundle, host=host, port=port, device=device)
    logs.configure(settings.log_format, settings.log_level)
    warn_of_former_names()
    try:
        listeners = bind(settings.host, settings.port)
        tune_garbage_collector()
        settings = within_file_limit(settings)
        map_large_blocks()
        app = create_app(settings)
        start(app.state.kindred)  # here, so that an error is one line
        run(app, settings, listeners)
    except (BundleError, DeviceError, StorageError, UnavailableError, StartError) as error:
        raise _exit_with(str(error)) from error


@command.command("settings")
def print_settings() -> None:
    """Print every setting with effect, type and default, as Markdown."""
    typer.echo(configuration.markdown(), nl=False)


@command.command("config")
def print_config() -> None:
    """Print what each setting is now, and where that comes from; keys are hidden."""
    settings = _read_settings()
    typer.echo("\n".join(configuration.current(settings)))


@command.command("check")
def check(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.")] = None,
) -> None:
    """Check that the settings are valid and that the port is free, without starting."""
    settings = _read_settings(host=host, port=port)
    try:
        for listener in bind(settings.host, settings.port):
            listener.close()
    except StartError as error:
        raise _exit_with(str(error)) from error


@gallery.command("export")
def export_gallery(
    file: Annotated[Path, typer.Argument(help="Parquet file to write; an older one is replaced.")],
    bundle: BundleOption = None,
) -> None:
    """Write all images to a file: ids, labels, attributes, pixels and vectors.

    The service may be running. The file has the images of the moment at which the export starts.
    """
    from service.gallery import backup  # noqa: PLC0415 - pyarrow, which serving does not need

    with _opened_gallery(bundle) as opened, _progress() as progress:
        task = progress.add_task("writing", total=len(opened))
        count = backup.write(opened, file, lambda images: progress.advance(task, images))
    typer.echo(f"{count} images in {file}", err=not file.is_file())  # it may be standard output


@gallery.command("import")
def import_gallery(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files that 'export' wrote, or shards of 'python -m training embed'."),
    ],
    bundle: BundleOption = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Also remove the images that are not in the file.")
    ] = False,
) -> None:
    """Add the images of files. An image whose id exists already is replaced by the file's.

    All images of all files are checked before the first is kept; if one is refused, nothing
    changes. Stop the service first if it uses the same gallery folder.
    """
    from service.gallery import backup  # noqa: PLC0415 - pyarrow, which serving does not need

    if mirror and len(files) > 1:
        raise typer.BadParameter("--mirror takes one file: what is not in it is removed")
    with _opened_gallery(bundle) as opened, _progress() as progress:
        # each image counts twice: it is checked, then stored
        task = progress.add_task("reading", total=2 * sum(map(backup.count, files)))
        result = backup.read(
            opened, *files, mirror=mirror, on_images=lambda images: progress.advance(task, images)
        )
    typer.echo(
        f"{result.added} added, {result.changed} changed, {result.unchanged} were there already, "
        f"{result.removed} removed"
    )


@contextmanager
def _opened_gallery(bundle: Path | None) -> Iterator[Gallery]:
    """Open the gallery that the settings name. An error ends the command with one line."""
    from service.gallery.backup import BackupError  # noqa: PLC0415 - see above

    settings = _read_settings(bundle=bundle)
    warn_of_former_names()
    try:
        opened = open_gallery(settings.gallery, load(settings.bundle or default_bundle()))
        try:
            yield opened
        finally:
            opened.close()
    except KindredError as error:
        raise _exit_with(error.detail) from error
    except (BackupError, BundleError) as error:
        raise _exit_with(str(error)) from error


def _read_settings(**options: object) -> Settings:
    """Read the settings. Options that are not None override the environment."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        warn_of_former_names()
        reasons = configuration.explain(error, options=given)
        raise _exit_with(f"invalid settings: {reasons}") from error


def _exit_with(reason: str) -> typer.Exit:
    """Print an error, and return the exception that ends the command with status 1."""
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), reason), soft_wrap=True)
    return typer.Exit(1)


def _progress() -> Progress:
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> None:
    """Run a command. Characters that the output's encoding lacks are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    command(arguments, program)
