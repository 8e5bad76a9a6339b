"""Reads multipart forms: files, and fields that count as parameters of the query.

Knows parameters and bytes; nothing of images.
"""

from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.formparsers import MultiPartException

from service.engine.types import Priority
from service.errors import MalformedBodyError, TooLargeError
from service.http.codecs.form import FormParser
from service.http.dependencies import ATTRIBUTE, StateDep
from service.http.parameters import parameters_of

MEDIA_TYPE: Final = "multipart/form-data"
FILE: Final = "file"
"""The name of the files in a form."""
MAX_FIELDS: Final = 256
MAX_FIELD_BYTES: Final = 64 * 2**10


class FormReader:
    """A dependency that reads the form of a request, if it is one, before its parameters are read.

    `files_of` then returns the files. The other fields are added to the query.
    """

    def __init__(self, priority: Priority) -> None:
        self.priority = priority

    async def __call__(self, request: Request, state: StateDep) -> None:
        """Read the form.

        Raises:
            KindredError: the request cannot be admitted, or its form cannot be parsed.
            RequestValidationError: a field is no parameter of the route, or is given twice.

        """
        if media_type(request) != MEDIA_TYPE:
            return
        state.admission.check(self.priority)
        form = await _parse(request, state.settings.max_client_batch_size)
        parts = form.getlist(FILE)
        files = [await part.read() for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) < len(parts):
            raise MalformedBodyError(
                "The form has no file named 'file'; with curl, that is: -F file=@cat.png"
            )
        request.state.form_files = files
        _add_to_query(request, form)


def media_type(request: Request, default: str = "") -> str:
    """Return the media type of the body, without parameters."""
    given: str = request.headers.get("Content-Type", default)
    return given.partition(";")[0].strip().lower()


def files_of(request: Request) -> list[bytes]:
    """Return the files of the form that `FormReader` read."""
    files: list[bytes] = request.state.form_files
    return files


def _add_to_query(request: Request, form: FormData) -> None:
    """Add the fields of a form to the query. A browser sends an empty field as empty text."""
    fields = [
        (name, value)
        for name, value in form.multi_items()
        if isinstance(value, str) and (value or name.startswith(ATTRIBUTE))
    ]
    other_files = [name for name, value in form.multi_items() if isinstance(value, UploadFile)]
    query = request.query_params.multi_items()
    if parameters := parameters_of(request):
        names = [name for name, _ in (*query, *fields)]
        parameters.check([*names, *(name for name in other_files if name != FILE)], "form")
    if fields:
        # FastAPI reads the query from here, and has done so for the dependencies before this one.
        request._query_params = QueryParams([*query, *fields])


async def _parse(request: Request, max_files: int) -> FormData:
    parser = FormParser(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise too_many(max_files) from error
        raise MalformedBodyError(f"The form cannot be parsed: {error.message}") from error
    except UnicodeError as error:  # a name in it is not in the charset that it declares
        raise MalformedBodyError(f"The form cannot be parsed: {error}.") from error


def too_many(limit: int) -> TooLargeError:
    """Return the error of a request with more images than the limit."""
    return TooLargeError(
        f"There are more than {limit} images in this request: send them in several requests."
    )
