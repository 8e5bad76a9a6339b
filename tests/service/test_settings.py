"""The settings: environment variables, their former names, and what is refused."""

import logging
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from service.cli import command
from service.environment import FORMER_NAMES, unknown_variables, variable, warn_of_former_names
from service.settings import Settings

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


def refusal(*options: str) -> str:
    """Return the line by which `python -m service` refuses its settings."""
    outcome = CliRunner().invoke(command, options)
    assert outcome.exit_code == 1, outcome.output
    (line,) = outcome.output.splitlines()
    return line.removeprefix("error: invalid settings: ")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_counts_as_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINDRED_GALLERY")
    default = Settings()
    monkeypatch.setenv(variable(name), "")
    if name in FORMER_NAMES:
        monkeypatch.setenv(variable(FORMER_NAMES[name]), "")
    assert Settings() == default


def test_a_former_variable_counts_if_the_new_one_is_empty(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KINDRED_MAX_QUEUE_SIZE", "")
    monkeypatch.setenv("KINDRED_MAX_QUEUE", "99")
    assert Settings().max_queue_size == 99
    warn_of_former_names()
    assert caplog.messages == ["KINDRED_MAX_QUEUE is now called KINDRED_MAX_QUEUE_SIZE"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "abc", "is abc, and takes an integer, 0 to 65,535"),
        ("PORT", "70000", "is 70000, and takes an integer, 0 to 65,535"),
        ("TELEMETRY", "maybe", "is maybe, and takes true or false"),
        ("REQUEST_TIMEOUT", "0", "is 0, and takes a number, above 0"),
        ("LOG_FORMAT", "xml", "is xml, and takes one of text, json"),
        ("INTRA_OP_THREADS", "none", "is none, and takes an integer, at least 1"),
        ("API_KEYS", "two words", "is ***: a key must consist of printable ASCII characters"),
        ("GALLERY", "~no-such-user/gallery", "is ~no-such-user/gallery: this user has no home"),
        ("GALLERY", "milvus://user:secret@/", "is milvus://***@/: a Milvus is given as milvus://"),
        ("CORS_ORIGINS", "https://a.org,b.org", "b.org is not an origin"),
        ("CORS_ORIGINS", "https://a.org/page", "https://a.org/page is more than an origin"),
        ("LOG_FROMAT", "json", "is not a setting: did you mean KINDRED_LOG_FORMAT?"),
        ("MAX_BATHC_SIZE", "4", "is not a setting: did you mean KINDRED_MAX_BATCH_SIZE?"),
        ("XYZ", "4", "is not a setting."),
    ],
)
def test_an_error_names_the_variable_its_value_and_what_it_takes(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KINDRED_{name}", value)
    line = refusal()
    assert line.startswith(f"KINDRED_{name} is ")
    assert reason in line
    assert "secret" not in line
    assert "two words" not in line


def test_an_error_names_the_option_that_gave_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_PORT", "8000")
    assert refusal("--port", "70000") == "--port is 70000, and takes an integer, 0 to 65,535"


def test_an_error_of_two_settings_has_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_MAX_QUEUE_SIZE", "8")
    assert refusal().startswith(
        "KINDRED_MAX_CLIENT_BATCH_SIZE is 64, more than KINDRED_MAX_QUEUE_SIZE, 8: "
    )


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("http://milvus:19530", "did you mean milvus://?"),
        ("https://milvus:19530", "did you mean milvus+tls://?"),
        ("mivlus://milvus:19530", "did you mean milvus://?"),
        ("s3://bucket/gallery", "give a folder, or the URL of a Milvus"),
    ],
)
def test_an_address_of_an_unknown_kind_is_refused(address: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(meant)):
        Settings(gallery=address)


def test_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("KINDRED_GALLERY", "~/gallery")
    settings = Settings.model_validate({"bundle": "~/bundle"})
    assert (settings.gallery, settings.bundle) == ("/somewhere/gallery", Path("/somewhere/bundle"))


def test_origins_become_what_browsers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "HTTPS://Example.org:443/, http://bücher.example:80,http://[::1]:8080,*"
    monkeypatch.setenv("KINDRED_CORS_ORIGINS", given)
    assert Settings().cors_origins == (
        "https://example.org",
        "http://xn--bcher-kva.example",
        "http://[::1]:8080",
        "*",
    )


def test_help_lists_every_setting() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert [name for name in Settings.model_fields if f"{variable(name)}: " not in text] == []
    assert "fastapi[opentelemetry]" in text


def test_config_prints_what_counts_and_where_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_GALLERY", "milvus://user:secret@host:19530/kindred")
    monkeypatch.setenv("KINDRED_MAX_QUEUE", "99")
    monkeypatch.setenv("KINDRED_API_KEYS", "secret-1,secret-2")
    outcome = CliRunner().invoke(command, ["config"])
    lines = outcome.output.splitlines()
    assert outcome.exit_code == 0
    assert len(lines) == len(Settings.model_fields)
    assert "secret" not in outcome.output
    assert "KINDRED_GALLERY=milvus://***@host:19530/kindred  # KINDRED_GALLERY" in lines
    assert "KINDRED_MAX_QUEUE_SIZE=99  # KINDRED_MAX_QUEUE" in lines
    assert "KINDRED_API_KEYS=***,***  # KINDRED_API_KEYS" in lines
    assert "KINDRED_ADMIN_KEYS=(none)  # default" in lines
    assert "KINDRED_REQUEST_TIMEOUT=10  # default" in lines


def test_variables_of_the_client_and_of_training_are_no_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("KINDRED_URL", "KINDRED_API_KEY", "KINDRED_DATA", "KINDRED_CONCURRENT_RUNS"):
        monkeypatch.setenv(name, "x")
    assert unknown_variables(Settings.model_fields) == []
