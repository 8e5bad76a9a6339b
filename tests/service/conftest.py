"""Fixtures: a bundle, apps that serve it, their client, a scripted network."""

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
    """The bundle that most tests of the service use."""
    return bundle.load(bundle_path)


@pytest.fixture(scope="session")
def bundle_without_pixels(bundle_without_pixels_path: Path) -> Bundle:
    """A bundle with fewer images and no pixels."""
    return bundle.load(bundle_without_pixels_path)


@pytest.fixture(scope="session")
def make_app(bundle_path: Path) -> MakeApp:
    """A function that creates an app on the bundle with the given settings."""
    return lambda **settings: create_app(Settings(bundle=bundle_path, **settings))


@pytest.fixture(scope="session")
def app(make_app: MakeApp) -> FastAPI:
    """An app with default settings."""
    return make_app()


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the running app."""
    with TestClient(app) as running:
        yield running


@pytest.fixture
def network() -> Iterator[ScriptedNetwork]:
    """A scripted network; its gate is opened at the end of the test."""
    scripted = ScriptedNetwork()
    yield scripted
    scripted.gate.set()
