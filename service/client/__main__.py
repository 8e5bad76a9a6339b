"""The client for people: `python -m service.client cat.png`, and `… add FOLDER`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from service.client import Fit, Kindred, ProblemError, UnreachableError
from service.client.client import URL
from service.client.upload import add as add_pictures
from service.client.upload import pictures
from service.schemas.errors import Problem
from service.schemas.images import PredictResponse


def show(
    files: Annotated[list[Path], typer.Argument(help="Pictures.", exists=True, dir_okay=False)],
    url: Annotated[str, typer.Option(envvar="KINDRED_URL", help="Where the service is.")] = URL,
    key: Annotated[str | None, typer.Option(envvar="KINDRED_API_KEY", help="API key.")] = None,
    limit: Annotated[int, typer.Option(help="Neighbours at each layer.", min=1)] = 5,
    fit: Annotated[Fit, typer.Option(help="How a picture becomes a square.")] = "crop",
    json: Annotated[bool, typer.Option("--json", help="Print the answers as they came.")] = False,
) -> None:
    """Print what each picture is, and what in the gallery is most like it."""
    answers: list[PredictResponse | Problem] = []
    try:
        with Kindred(url, key=key) as kindred:
            for picture in files:
                answers.append(_ask(kindred, picture, limit, fit))
                if not json:
                    _show_one(picture, answers[-1])
    except UnreachableError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if json:
        typer.echo(TypeAdapter(list[Any]).dump_json(answers, indent=1, exclude_none=True))
    if any(isinstance(answer, Problem) for answer in answers):
        raise typer.Exit(1)


def _ask(kindred: Kindred, picture: Path, limit: int, fit: Fit) -> PredictResponse | Problem:
    """Each on its own: together they might be more than one request may hold."""
    try:
        return kindred.predict(picture, limit=limit, fit=fit)
    except ProblemError as error:
        return error.problem


def add(
    folder: Annotated[Path, typer.Argument(help="Its pictures.", exists=True, file_okay=False)],
    url: Annotated[str, typer.Option(envvar="KINDRED_URL", help="Where the service is.")] = URL,
    key: Annotated[str | None, typer.Option(envvar="KINDRED_API_KEY", help="An admin key.")] = None,
    fit: Annotated[Fit, typer.Option(help="How a picture becomes a square.")] = "crop",
) -> None:
    """Add the pictures of a folder to the gallery, labelled by the sub-folders that they are in.

    Done again, it adds what is new. Pictures that are refused are named; the others go on.
    """
    console = Console(stderr=True)
    files = pictures(folder)
    created = refused = 0
    try:
        with Kindred(url, key=key) as kindred, _progress(console) as progress:
            for one in progress.track(
                add_pictures(kindred, folder, files, fit), total=len(files), description="adding"
            ):
                if isinstance(one.said, str):
                    refused += 1
                    console.print(
                        f"{one.file}: {one.said}", style="red", markup=False, soft_wrap=True
                    )
                else:
                    created += one.said.outcome == "created"
    except (ProblemError, UnreachableError) as error:
        console.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    there = len(files) - created - refused
    typer.echo(f"{created} added, {there} were there already, {refused} refused")
    if refused:
        raise typer.Exit(1)


def _progress(console: Console) -> Progress:
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=console,
    )


def _show_one(picture: Path, answer: PredictResponse | Problem) -> None:
    console = Console()
    console.print(str(picture), style="bold", highlight=False, markup=False)
    if isinstance(answer, Problem):
        console.print(f"  {answer.title}: {answer.detail}", style="red", markup=False)
        return
    for one in answer.predictions[:3]:
        bar = "█" * round(30 * one.probability)
        line = f"  {one.label:<12} {one.probability:6.1%} {bar}"
        console.print(line, highlight=False, markup=False)
    if answer.familiar is False:
        console.print(
            "  It is unlike all that the network knows: do not rely on this.", style="yellow"
        )
    table = Table(box=None, padding=(0, 2))
    for layer in answer.similar:
        table.add_column(f"like it at {layer}")
    for row in range(max(map(len, answer.similar.values()), default=0)):
        table.add_row(
            *(
                f"{kin[row].score:.3f} {kin[row].label} {kin[row].id}" if row < len(kin) else ""
                for kin in answer.similar.values()
            )
        )
    console.print(table)


def main() -> None:
    """`add FOLDER`, or else the pictures to be shown."""
    if sys.argv[1:2] == ["add"]:
        del sys.argv[1]
        typer.run(add)
    else:
        typer.run(show)


if __name__ == "__main__":
    main()
