"""A real app on a real bundle."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.support.fakes import ScriptedNetwork
from training import bundle
from training.bundle import Bundle

MakeApp = Callable[..., FastAPI]


@pytest.fixture(scope="session")
def loaded(bundle_path: Path) -> Bundle:
    """The bundle that most apps here serve."""
    return bundle.load(bundle_path)


@pytest.fixture(scope="session")
def bundle_without_pixels(bundle_without_pixels_path: Path) -> Bundle:
    """One with fewer images and no pixels."""
    return bundle.load(bundle_without_pixels_path)


@pytest.fixture(scope="session")
def make_app(bundle_path: Path) -> MakeApp:
    """An app on the bundle, with settings of one's own."""
    return lambda **settings: create_app(Settings(bundle=bundle_path, **settings))


@pytest.fixture(scope="session")
def app(make_app: MakeApp) -> FastAPI:
    """An app with the settings as they come."""
    return make_app()


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of an app that runs."""
    with TestClient(app) as running:
        yield running


@pytest.fixture
def network() -> Iterator[ScriptedNetwork]:
    """A network that does as it is told, and lets go of everything at the end."""
    scripted = ScriptedNetwork()
    yield scripted
    scripted.gate.set()
