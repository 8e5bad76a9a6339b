"""The command `kindred`: asks a service, and starts the service and the training if installed.

The commands that ask need only what the client needs.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from kindred.client import URL, Client
from kindred.endpoints import Fit
from kindred.retries import ProblemError, UnreachableError
from kindred.upload import image_files, upload_files
from service.schemas.errors import Problem
from service.schemas.images import Neighbour, PredictResponse

FITS: Final[tuple[Fit, ...]] = ("crop", "pad", "stretch")
OTHER_COMMANDS: Final = {
    "serve": ("service.cli", [], "serve", "serve a bundle over HTTP"),
    "config": ("service.cli", ["config"], "serve", "print what each setting of the service is"),
    "export": ("service.cli", ["gallery", "export"], "serve", "write the gallery to a file"),
    "import": ("service.cli", ["gallery", "import"], "serve", "add the images of such files"),
    "train": ("training.cli", [], "train", "train networks and build bundles"),
}
"""Commands of other packages: module, first arguments, the extra that brings it, help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # print what its encoding lacks as escapes
            stream.reconfigure(errors="backslashreplace")
    if given and given[0] in OTHER_COMMANDS:
        return _run_other(given[0], given[1:])
    options = _parser().parse_args(given)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ProblemError, UnreachableError, ValueError, OSError) as error:
        return _fail(str(error))


def _run_other(name: str, arguments: list[str]) -> int:
    """Run a command of the service or of the training, unless it is not installed."""
    module, first, extra, _ = OTHER_COMMANDS[name]
    try:
        run = import_module(module).main
    except ModuleNotFoundError as error:
        return _fail(f"'{name}' needs {error.name}: pip install 'kindred[{extra}]'")
    run([*first, *arguments], f"kindred {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kindred",
        description="Give it an image; get its class and the images most like it.",
        epilog="commands of the service and of the training:\n"
        + "\n".join(f"  {name:<8} {text}" for name, (*_, text) in OTHER_COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    predict = _command(commands, "predict", "print the classes of images, and similar images")
    predict.add_argument("files", nargs="+", type=_file, metavar="FILE", help="image file")
    predict.set_defaults(run=_predict)
    similar = _command(commands, "similar", "print the images most like an image")
    similar.add_argument("file", type=_file, metavar="FILE", help="image file")
    similar.add_argument("--layer", help="layer to compare at (default: the first of the network)")
    similar.set_defaults(run=_similar)
    for command in (predict, similar):
        command.add_argument("--limit", type=int, default=5, help="similar images (default: 5)")
        command.add_argument("--json", action="store_true", help="print JSON")
    add = _command(commands, "add", "add the images of a folder; a sub-folder's name is the label")
    add.add_argument("folder", type=_folder, metavar="FOLDER", help="folder of images")
    add.set_defaults(run=_add)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:  # Any: not exported
    """Add a command that asks the service."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text.capitalize()}.", allow_abbrev=False
    )
    url = os.environ.get("KINDRED_URL") or URL
    command.add_argument("--url", default=url, help=f"URL of the service (default: {url})")
    command.add_argument("--key", help="API key (default: KINDRED_API_KEY)")
    command.add_argument(
        "--fit",
        choices=FITS,
        default="crop",
        help="how an image becomes square: its centre, with bars, or distorted (default: crop)",
    )
    return command


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def _client(options: argparse.Namespace) -> Client:
    return Client(options.url, key=options.key or os.environ.get("KINDRED_API_KEY"))


def _predict(options: argparse.Namespace) -> int:
    """Send one image per request: several might exceed the limits of one request."""
    answers: list[PredictResponse | Problem] = []
    with _client(options) as client:
        for file in options.files:
            try:
                answers.append(client.predict(file, limit=options.limit, fit=options.fit))
            except ProblemError as error:
                answers.append(error.problem)
            if not options.json:
                _show(file, answers[-1])
    if options.json:
        _print_json(answers)
    return int(any(isinstance(answer, Problem) for answer in answers))


def _similar(options: argparse.Namespace) -> int:
    with _client(options) as client:
        found = client.similar(
            options.file, layer=options.layer, limit=options.limit, fit=options.fit
        )
    if options.json:
        _print_json(found)
    else:
        print("\n".join(map(_line, found)))
    return 0


def _add(options: argparse.Namespace) -> int:
    """Add the images of a folder. Refused images are listed; the others are still added."""
    files, left_out = image_files(options.folder)
    created = refused = 0
    with _client(options) as client:
        for result in upload_files(client, options.folder, files, options.fit):
            if isinstance(result.response, str):
                refused += 1
                print(f"{result.file}: {result.response}", file=sys.stderr)
            else:
                created += result.response.outcome == "created"
    present = len(files) - created - refused
    print(f"{created} added, {present} were there already, {refused} refused")
    if left_out:
        names = ", ".join(str(file.relative_to(options.folder)) for file in left_out[:10])
        more = f" and {len(left_out) - 10} more" if len(left_out) > 10 else ""
        print(f"{len(left_out)} left out, no image by their names: {names}{more}")
    return int(refused > 0)


def _show(file: Path, answer: PredictResponse | Problem) -> None:
    print(file)
    if isinstance(answer, Problem):
        print(f"  {answer.title}: {answer.detail}")
        return
    for one in answer.predictions[:3]:
        print(f"  {one.label:<12} {one.probability:6.1%} {'█' * round(30 * one.probability)}")
    if answer.familiar is False:
        print("  Unlike the images that the network was trained on: do not rely on this.")
    columns = [
        [f"similar at {layer}", *map(_line, found)] for layer, found in answer.similar.items()
    ]
    for row in range(max(map(len, columns), default=0)):
        cells = [column[row] if row < len(column) else "" for column in columns]
        print("  " + "  ".join(map(str.ljust, cells, map(_width, columns))).rstrip())
    print()


def _line(found: Neighbour) -> str:
    return " ".join((f"{found.score:.3f}", *filter(None, (found.label,)), found.id))


def _width(column: Iterable[str]) -> int:
    return max(map(len, column))


def _print_json(answers: Sequence[Any]) -> None:  # Any: any response
    encoded = TypeAdapter(list[Any]).dump_json([*answers], indent=1, exclude_none=True)
    print(encoded.decode())


def _fail(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 1
