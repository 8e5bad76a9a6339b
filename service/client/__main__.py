"""The client on the command line: `python -m service.client cat.png`, or `… upload FOLDER`."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.client import Fit, Kindred, ProblemError, UnreachableError
from service.client.client import URL
from service.client.upload import image_files, upload_files
from service.schemas.errors import Problem
from service.schemas.images import PredictResponse

PROGRAM: Final = "python -m service.client"

UrlOption = Annotated[str, typer.Option(envvar="KINDRED_URL", help="URL of the service.")]
FitOption = Annotated[
    Fit,
    typer.Option(
        help="How an image becomes square: crop keeps its centre, pad adds bars, stretch distorts "
        "it."
    ),
]


def predict(
    files: Annotated[list[Path], typer.Argument(help="Image files.", exists=True, dir_okay=False)],
    url: UrlOption = URL,
    key: Annotated[str | None, typer.Option(envvar="KINDRED_API_KEY", help="API key.")] = None,
    limit: Annotated[int, typer.Option(help="Similar images per layer.", min=1)] = 5,
    fit: FitOption = "crop",
    json: Annotated[bool, typer.Option("--json", help="Print the responses as JSON.")] = False,
) -> None:
    """Print the class of each image and the most similar images of the gallery.

    To add a folder to the gallery, see 'python -m service.client upload --help'.
    """
    answers: list[PredictResponse | Problem] = []
    try:
        with Kindred(url, key=key) as kindred:
            for file in files:
                answers.append(_predict(kindred, file, limit, fit))
                if not json:
                    _show(file, answers[-1])
    except UnreachableError as error:
        raise _exit_with(error) from error
    if json:
        typer.echo(TypeAdapter(list[Any]).dump_json(answers, indent=1, exclude_none=True))
    if any(isinstance(answer, Problem) for answer in answers):
        raise typer.Exit(1)


def _predict(kindred: Kindred, file: Path, limit: int, fit: Fit) -> PredictResponse | Problem:
    """Send one image per request: several might exceed the limits of one request."""
    try:
        return kindred.predict(file, limit=limit, fit=fit)
    except ProblemError as error:
        return error.problem


def upload(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", exists=True, file_okay=False)],
    url: UrlOption = URL,
    key: Annotated[
        str | None, typer.Option(envvar="KINDRED_API_KEY", help="Admin API key.")
    ] = None,
    fit: FitOption = "crop",
) -> None:
    """Add the images of a folder to the gallery. The name of a sub-folder is their label.

    A repeated upload adds only new images. Refused images are listed; the others are still added.
    """
    console = _console(stderr=True)
    files = image_files(folder)
    created = refused = 0
    try:
        with Kindred(url, key=key) as kindred, _progress(console) as progress:
            for result in progress.track(
                upload_files(kindred, folder, files, fit), total=len(files), description="uploading"
            ):
                if isinstance(result.response, str):
                    refused += 1
                    line = f"{result.file}: {result.response}"
                    console.print(line, style="red", soft_wrap=True)
                else:
                    created += result.response.outcome == "created"
    except (ProblemError, UnreachableError) as error:
        raise _exit_with(error) from error
    present = len(files) - created - refused
    typer.echo(f"{created} added, {present} were there already, {refused} refused")
    if refused:
        raise typer.Exit(1)


def _exit_with(error: Exception) -> typer.Exit:
    """Print an error, and return the exception that ends the command with status 1."""
    _console(stderr=True).print(f"error: {error}", style="red", soft_wrap=True)
    return typer.Exit(1)


def _console(*, stderr: bool = False) -> Console:
    """Return a console that prints names as they are, with their brackets and colons."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=console,
    )


def _show(file: Path, answer: PredictResponse | Problem) -> None:
    console = _console()
    console.print(str(file), style="bold", soft_wrap=True)
    if isinstance(answer, Problem):
        console.print(f"  {answer.title}: {answer.detail}", style="red", soft_wrap=True)
        return
    block = "#" if console.options.ascii_only else "█"
    for one in answer.predictions[:3]:
        bar = block * round(30 * one.probability)
        console.print(f"  {one.label:<12} {one.probability:6.1%} {bar}")
    if answer.familiar is False:
        console.print(
            "  Unlike the images that the network was trained on: do not rely on this.",
            style="yellow",
        )
    table = Table(box=None, padding=(0, 2))
    for layer in answer.similar:
        table.add_column(f"similar at {layer}")
    for row in range(max(map(len, answer.similar.values()), default=0)):
        table.add_row(
            *(
                f"{found[row].score:.3f} {found[row].label} {found[row].id}"
                if row < len(found)
                else ""
                for found in answer.similar.values()
            )
        )
    console.print(table)


def main() -> None:
    """Run `upload` if it is the first argument, else `predict`. `add` is an alias of `upload`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # print what its encoding lacks as escapes
            stream.reconfigure(errors="backslashreplace")
    first, *rest = sys.argv[1:] or [""]
    if first == "add":
        typer.echo("'add' is now called 'upload'", err=True)
    if first in {"upload", "add"}:
        _run(upload, f"{PROGRAM} upload", rest)
    else:
        _run(predict, PROGRAM, sys.argv[1:])


def _run(command: Any, name: str, arguments: list[str]) -> None:  # Any: as `typer.run` accepts it
    program = typer.Typer(add_completion=False)
    program.command()(command)
    program(arguments, prog_name=name)


if __name__ == "__main__":
    main()
