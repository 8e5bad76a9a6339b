"""Describes the settings: as `docs/configuration.md`, in `--help`, as they count now, in errors."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from service.environment import FORMER_NAMES, source, variable
from service.settings import Settings, default_bundle

_HEAD: Final = """# Configuration

Every setting is an environment variable. The options `--bundle`, `--host`, `--port` and `--device`
of `python -m service` override their variables. Lists are separated by commas. `~` at the start of
a path is the home folder. An empty variable counts as not set.

An invalid setting stops the service at startup. The error names the variable, its value and what it
takes; keys and passwords are hidden. A variable `KINDRED_*` that does not exist is refused too.
`python -m service config` prints each setting with its value and where that comes from.

A former name is still accepted. The log then has a warning that names the new variable. If both are
set, the new one is used.

The command `kindred` has two variables of its own: `KINDRED_URL` and `KINDRED_API_KEY`, see
`kindred predict --help`. `python -m training` reads `KINDRED_DATA` and `KINDRED_DOWNLOAD`;
see its `--help`.

This file is generated from `service/settings.py`: `make docs` writes it.

| variable | effect | type | default | former name |
| --- | --- | --- | --- | --- |
"""
_MEBIBYTE: Final = 2**20


def markdown() -> str:
    """Return the page: one row per setting, in the order of `Settings`."""
    return _HEAD + "".join(_row(name, schema) for name, schema in _schemas().items())


def overview() -> str:
    """Return one paragraph per setting: its variable, its effect and what it takes."""
    return "\n\n".join(
        f"{variable(name)}: {_effect(schema)} Takes {_takes(schema)}."
        for name, schema in _schemas().items()
    )


def current(settings: Settings) -> Iterator[str]:
    """Yield a line per setting: the variable, its value and where that comes from."""
    for name, schema in _schemas().items():
        value = shown(name, getattr(settings, name)) or _default_in_words(name, schema)
        yield f"{variable(name)}={value}  # {source(name) or 'default'}"


def shown(name: str, value: object) -> str:
    """Return a value as one would set it, with keys and passwords hidden."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(shown(name, one) for one in value)
    if isinstance(value, SecretStr) or name.endswith("_keys"):
        return _HIDDEN
    if isinstance(value, float):
        return f"{value:g}"
    return _CREDENTIALS.sub(f"//{_HIDDEN}@", str(value))


def explain(error: ValidationError, options: Iterable[str] = ()) -> str:
    """Return each reason with the variable, its value and what it takes.

    `options` are the settings that the command line gives; their options are named instead.
    """
    return "; ".join(_reason(found, set(options)) for found in error.errors(include_url=False))


def _reason(found: ErrorDetails, options: set[str]) -> str:
    message = found["msg"].removeprefix("Value error, ")
    if not found["loc"]:
        return message
    name = str(found["loc"][0])
    given_by = f"--{name}" if name in options else source(name) or variable(name)
    value = shown(name, found["input"]) or "empty"
    if found["type"] == "value_error":
        return f"{given_by} is {value}: {message}"
    return f"{given_by} is {value}, and takes {_takes(_schemas()[name])}"


def _schemas() -> dict[str, dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    return schemas


def _takes(schema: dict[str, Any]) -> str:
    """Return the type of a setting as part of a sentence."""
    kind = _type(schema)
    if kind.startswith("`"):
        return "one of " + kind.replace("`", "")
    if kind == "boolean":
        return "true or false"
    article = "an" if kind.startswith("integer") else "a"
    return kind if kind == "text" else f"{article} {kind}"


def _effect(schema: dict[str, Any]) -> str:
    return " ".join(schema["description"].split())


def _default_in_words(name: str, schema: dict[str, Any]) -> str:
    """Return the default that the description states, or the folder of the bundle."""
    if name == "bundle":
        return str(default_bundle())
    stated = re.search(r"Default: (.*?)[.,;]", _effect(schema))
    return f"({stated[1]})" if stated else ""


_HIDDEN: Final = "***"
_CREDENTIALS: Final = re.compile(r"//[^/]*@")


def _row(name: str, schema: dict[str, Any]) -> str:
    former = _code(variable(FORMER_NAMES[name])) if name in FORMER_NAMES else ""
    default = _default(name, schema["default"])
    cells = (_code(variable(name)), _effect(schema), _type(schema), default, former)
    return f"| {' | '.join(cells)} |\n"


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a JSON schema in words, with its bounds or values."""
    if "anyOf" in schema:
        return ", ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(map(_code, values))
    names = {"array": "list", "string": schema.get("format", "text")}
    return f"{names.get(schema['type'], schema['type'])}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    if "maximum" in schema:
        return f", {schema['minimum']:,} to {schema['maximum']:,}"
    if "minimum" in schema:
        return f", at least {schema['minimum']:,}"
    if "exclusiveMinimum" in schema:
        return f", above {schema['exclusiveMinimum']:,}"
    return ""


def _default(name: str, default: object) -> str:
    """Return the default as one would set it; empty if the description states it."""
    if default is None or default in ([], ""):
        return ""
    if isinstance(default, bool):
        return _code(str(default).lower())
    if isinstance(default, int) and name.endswith("_bytes"):
        return f"{_code(default)} ({default // _MEBIBYTE} MiB)"
    return _code(f"{default:g}" if isinstance(default, float) else default)


def _code(value: object) -> str:
    return f"`{value}`"
