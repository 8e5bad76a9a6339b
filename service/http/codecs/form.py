"""Parses forms: `multipart/form-data` with a preamble and an epilogue, and complete to its end."""

from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser


class FormParser(MultiPartParser):
    """Keeps files in memory, where the body limit holds, and never on disk."""

    spool_max_size = 0  # no limit

    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        *,
        max_files: int,
        max_fields: int,
        max_part_size: int,
    ) -> None:
        _, options = parse_options_header(headers["Content-Type"])
        if boundary := options.get(b"boundary"):
            stream = _without_preamble(stream, boundary)
        super().__init__(
            headers,
            stream,
            max_files=max_files,
            max_fields=max_fields,
            max_part_size=max_part_size,
        )
        self._ended = False

    def on_end(self) -> None:
        """Record that the last boundary was found."""
        self._ended = True

    async def parse(self) -> FormData:
        """Parse the form.

        Raises:
            MultiPartException: the form is malformed, or ends before its last boundary.

        """
        form = await super().parse()
        if not self._ended:
            raise MultiPartException("Its last boundary is missing, so it is cut off.")
        return form


async def _without_preamble(
    stream: AsyncGenerator[bytes, None], boundary: bytes
) -> AsyncGenerator[bytes, None]:
    """Skip what precedes the first boundary, which a client may send (RFC 2046, 5.1.1).

    Raises:
        MultiPartException: the boundary is not in the body.

    """
    delimiter = b"\r\n--" + boundary
    seen = b"\r\n"  # the first boundary may be at the very start
    async for chunk in stream:
        seen += chunk
        if (start := seen.find(delimiter)) >= 0:
            yield seen[start + 2 :]
            break
        seen = seen[-len(delimiter) :]
    else:
        raise MultiPartException("The boundary that Content-Type names is not in the body.")
    async for chunk in stream:
        yield chunk
