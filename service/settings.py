"""Every setting of the service, each an environment variable `KINDRED_*`.

`make docs` writes them to `docs/configuration.md`. Knows nothing of HTTP.
"""

import ipaddress
import logging
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.engine.backends.base import ServedPrecision
from service.engine.backends.factory import BackendChoice, has_openvino
from service.gallery.milvus.address import MilvusAddress, is_milvus
from service.telemetry.logs import LogFormat, LogLevel

log = logging.getLogger(__name__)

BUILT = Path("bundles/current")
STARTER = Path("starter")
PREFIX = "KINDRED_"

FORMER_NAMES = {
    "allow_anonymous": "open",
    "backend": "engine",
    "intra_op_threads": "threads",
    "max_batch_size": "max_batch",
    "max_queue_size": "max_queue",
    "request_timeout": "deadline",
    "max_in_flight_bytes": "max_bodies_bytes",
    "max_client_batch_size": "max_images",
    "shutdown_delay": "notice",
    "graceful_shutdown_timeout": "drain",
}
"""Settings that were renamed, with the former name, which the environment may still use."""


def default_bundle() -> Path:
    """Return the bundle that was built last, else the starter bundle."""
    return BUILT if BUILT.exists() else STARTER


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def warn_of_former_names() -> None:
    """Log a warning for each environment variable that has a former name."""
    environment = {name.upper() for name in os.environ}
    for name in _formerly_named():
        new, old = variable(name), variable(FORMER_NAMES[name])
        ignored = f"; {old} is ignored, because both are set" if new in environment else ""
        log.warning("%s is now called %s%s", old, new, ignored)


def _formerly_named() -> dict[str, str]:
    """Return the values that the environment has under former names, by the new names."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    return {
        name: environment[variable(former)]
        for name, former in FORMER_NAMES.items()
        if variable(former) in environment
    }


def _split(value: object) -> object:
    """Split `a,b` into a tuple, and return anything else unchanged."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _sendable(key: SecretStr) -> SecretStr:
    """Refuse a key that no HTTP header can carry."""
    if not re.fullmatch("[!-~]+", key.get_secret_value()):
        raise ValueError("a key must consist of printable ASCII characters other than the space")
    return key


Key = Annotated[SecretStr, AfterValidator(_sendable)]
KeyList = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split)]


def is_loopback(host: str) -> bool:
    """Return whether a host name or address always means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """How the service runs. The defaults suit two CPU cores."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        hide_input_in_errors=True,  # it may be a key
        use_attribute_docstrings=True,
    )

    bundle: Path | None = None
    """Folder of the bundle to serve. Default: bundles/current, or starter where none has been
    built.
    """
    gallery: str | None = None
    """Folder for added images, created with the first one; or the address of a Milvus collection.
    Default: a folder in gallery/ for the data set of the bundle. Several services can share
    milvus://host:19530/collection. In milvus:///folder/gallery.db the collection is a file.
    'python -m service gallery export' backs the gallery up.
    """
    host: str = "127.0.0.1"
    """Address to listen on. Any address other than loopback needs KINDRED_API_KEYS or
    KINDRED_ALLOW_ANONYMOUS=true.
    """
    port: int = Field(8000, ge=0, le=65535)
    """TCP port to listen on. 0: any free port."""

    log_level: LogLevel = "warning"
    """Lowest level that is logged. info adds one line per request."""
    log_format: LogFormat = "text"
    """Format of the log on standard error: text, or json with one object per line."""
    telemetry: bool = False
    """Export traces, metrics and errors of requests by OpenTelemetry. Needs
    'fastapi[opentelemetry]' and OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_SERVICE_NAME and the other OTEL_*
    variables apply.
    """

    api_keys: KeyList = ()
    """API keys, separated by commas; every request needs one. Default: none, so requests need no
    key.
    """
    admin_keys: KeyList = ()
    """API keys, separated by commas, that may also change the gallery and reload. Default: none.
    Without any keys, only requests from this machine may change anything.
    """
    allow_anonymous: bool = False
    """Answer requests without keys at any address. Only for trusted networks."""
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Origins whose web pages may call the service, such as https://example.org, separated by
    commas. Default: none.
    """

    backend: BackendChoice = "auto"
    """Runtime of the network. auto: OpenVINO on a CPU if the bundle has model.onnx and OpenVINO
    is installed (pip install '.[openvino]' in the checkout), else PyTorch.
    """
    device: str = "auto"
    """Device of the network: auto, cpu or cuda[:n]. auto: the first GPU, else the CPU."""
    precision: ServedPrecision = "auto"
    """Arithmetic of the network; int8 needs OpenVINO. auto: the fastest that the processor supports
    and that stays within tolerance; see docs/performance.md.
    """
    intra_op_threads: int | None = Field(None, ge=1)
    """CPU threads for inference. Default: chosen by the backend."""
    max_batch_size: int = Field(64, ge=1)
    """Images in one batch at most. On a CPU, more than 64 bring no gain."""
    max_queue_size: int = Field(512, ge=1)
    """Images that may be admitted and not yet answered; further requests get 429. Additions to the
    gallery have a limit of their own, of the same size. More images than the service answers within
    KINDRED_REQUEST_TIMEOUT only produce timeouts.
    """
    request_timeout: float = Field(10.0, gt=0)
    """Seconds from a request's arrival to its response; then it gets 504."""

    max_body_bytes: int = Field(16 * 2**20, ge=1)
    """Bytes of a request body at most; a larger one gets 413. A phone's photograph has 3 to 8 MB.
    """
    max_in_flight_bytes: int = Field(256 * 2**20, ge=1)
    """Bytes of all request bodies in flight at most; further requests get 429."""
    max_pixels: int = Field(25_000_000, ge=1, le=178_956_970)  # Pillow opens no more
    """Pixels of an image at most, checked before decoding. Decoding may take 24 bytes per pixel, in
    as many images at once as there are cores.
    """
    max_client_batch_size: int = Field(64, ge=1)
    """Images in one request at most; more get 413. Must not exceed KINDRED_MAX_QUEUE_SIZE."""

    shutdown_delay: float = Field(0.0, ge=0)
    """Seconds after SIGTERM during which requests are still accepted while /readyz answers 503. Set
    it above the time in which your load balancer removes a replica.
    """
    graceful_shutdown_timeout: int = Field(10, ge=0)
    """Seconds for requests in flight to finish, once no more are accepted."""

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, given: dict[str, object]) -> dict[str, object]:
        return {**_formerly_named(), **given}

    @field_validator("gallery")
    @classmethod
    def _check_gallery_address(cls, address: str | None) -> str | None:
        if address is not None and is_milvus(address):
            MilvusAddress.parse(address)
        return address

    @field_validator("telemetry")
    @classmethod
    def _check_telemetry(cls, on: bool) -> bool:
        if on:
            _require_exporter()
        return on

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.backend == "openvino" and not has_openvino():
            raise ValueError("OpenVINO is not installed: pip install '.[openvino]' in the checkout")
        if self.backend == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError(
                "OpenVINO runs on the CPU only: set KINDRED_DEVICE or KINDRED_BACKEND to auto"
            )
        if self.max_client_batch_size > self.max_queue_size:
            raise ValueError(
                "KINDRED_MAX_CLIENT_BATCH_SIZE is more than KINDRED_MAX_QUEUE_SIZE: such a request "
                "could never be queued. Lower the one or raise the other."
            )
        if self.max_body_bytes > self.max_in_flight_bytes:
            raise ValueError(
                "KINDRED_MAX_BODY_BYTES is more than KINDRED_MAX_IN_FLIGHT_BYTES: such a request "
                "could never be accepted. Lower the one or raise the other."
            )
        if not (self.api_keys or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from other machines: set KINDRED_API_KEYS, or "
                "KINDRED_ALLOW_ANONYMOUS=true to answer requests without keys"
            )
        return self


def _require_exporter() -> None:
    """Refuse telemetry without an exporter or an endpoint, which FastAPI would drop silently."""
    try:
        import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError as error:
        raise ValueError(
            "OpenTelemetry's exporter is not installed: pip install 'fastapi[opentelemetry]'"
        ) from error
    endpoints = [
        f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_", "LOGS_")
    ]
    if not any(map(os.environ.get, endpoints)):
        raise ValueError(f"set {endpoints[0]} to the collector, such as http://localhost:4318")
