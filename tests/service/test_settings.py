"""The settings: environment variables, their former names, and what is refused."""

import logging

import pytest
from pydantic import ValidationError

from service.settings import FORMER_NAMES, Settings, variable, warn_of_former_names

VALUES = {
    "allow_anonymous": "true",
    "backend": "torch",
    "intra_op_threads": "3",
    "max_batch_size": "5",
    "max_queue_size": "99",
    "request_timeout": "2.5",
    "max_in_flight_bytes": "99000000",
    "max_client_batch_size": "7",
    "shutdown_delay": "1.5",
    "graceful_shutdown_timeout": "8",
}
"""A value of each renamed setting, none of them the default."""


def test_every_renamed_setting_has_a_value_here() -> None:
    assert VALUES.keys() == FORMER_NAMES.keys()
    assert FORMER_NAMES.keys() <= Settings.model_fields.keys()
    assert not set(FORMER_NAMES.values()) & Settings.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_former_variable_still_sets_the_setting_and_is_reported(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    former = variable(FORMER_NAMES[name])
    monkeypatch.setenv(former, value)
    given = getattr(Settings(), name)
    assert given != Settings.model_fields[name].default
    assert given == getattr(Settings.model_validate({name: value}), name)
    warn_of_former_names()
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == f"{former} is now called {variable(name)}"


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_new_variable_wins_over_the_former_one(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    former = variable(FORMER_NAMES[name])
    monkeypatch.setenv(former, "not even valid")
    monkeypatch.setenv(variable(name), value)
    assert getattr(Settings(), name) == getattr(Settings.model_validate({name: value}), name)
    warn_of_former_names()
    (line,) = caplog.messages
    assert line == (
        f"{former} is now called {variable(name)}; {former} is ignored, because both are set"
    )


def test_former_variable_may_be_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("kindred_max_queue", "99")
    assert Settings().max_queue_size == 99


def test_former_variable_is_validated_under_the_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_MAX_QUEUE_SIZE", "0")
    with pytest.raises(ValidationError, match="max_queue_size"):
        Settings()


def test_argument_wins_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_MAX_QUEUE_SIZE", "99")
    monkeypatch.setenv("KINDRED_MAX_QUEUE_SIZE", "100")
    assert Settings(max_queue_size=101).max_queue_size == 101


def test_nothing_is_reported_without_former_variables(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_former_names()
    assert caplog.messages == []
