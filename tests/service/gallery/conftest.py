"""Galleries of every backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.gallery.protocol import Gallery
from tests.support.galleries import BACKENDS, Open
from training.bundle import Bundle


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Open:
    """The function that opens a gallery of one backend."""
    found: Open = BACKENDS[request.param]
    return found


@pytest.fixture
def gallery(backend: Open, loaded: Bundle, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery of the bundle's images, before any change."""
    opened = backend(loaded, tmp_path)
    yield opened
    opened.close()
