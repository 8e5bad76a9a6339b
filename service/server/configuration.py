"""Renders `docs/configuration.md`, the table of all settings, from the settings themselves."""

from typing import Any, Final

from service.settings import FORMER_NAMES, Settings, variable

_HEAD: Final = """# Configuration

Every setting is an environment variable. The options `--bundle`, `--host`, `--port` and `--device`
of `python -m service` override their variables. Lists are separated by commas. An invalid setting
stops the service at startup; the error names the variable.

A former name is still accepted. The log then has a warning that names the new variable. If both are
set, the new one is used.

The client has two variables of its own: `KINDRED_URL` and `KINDRED_API_KEY`, see
`python -m service.client --help`. `python -m training` reads `KINDRED_DATA` and `KINDRED_DOWNLOAD`;
see its `--help`.

This file is generated from `service/settings.py`: `make docs` writes it.

| variable | effect | type | default | former name |
| --- | --- | --- | --- | --- |
"""
_MEBIBYTE: Final = 2**20


def markdown() -> str:
    """Return the page: one row per setting, in the order of `Settings`."""
    properties = Settings.model_json_schema()["properties"]
    return _HEAD + "".join(_row(name, schema) for name, schema in properties.items())


def _row(name: str, schema: dict[str, Any]) -> str:
    effect = " ".join(schema["description"].split())
    former = _code(variable(FORMER_NAMES[name])) if name in FORMER_NAMES else ""
    default = _default(name, schema["default"])
    return f"| {_code(variable(name))} | {effect} | {_type(schema)} | {default} | {former} |\n"


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
    if default is None or default == []:
        return ""
    if isinstance(default, bool):
        return _code(str(default).lower())
    if isinstance(default, int) and name.endswith("_bytes"):
        return f"{_code(default)} ({default // _MEBIBYTE} MiB)"
    return _code(f"{default:g}" if isinstance(default, float) else default)


def _code(value: object) -> str:
    return f"`{value}`"
