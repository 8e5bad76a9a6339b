"""Fixtures: narrow networks, because these tests train often and look at no vector."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _narrow(narrow_networks: None) -> None:
    """Give the networks of all tests here few channels."""
