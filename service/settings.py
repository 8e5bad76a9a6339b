"""Every setting of the service, each an environment variable `KINDRED_*`.

`make docs` writes them to `docs/configuration.md`. Knows nothing of HTTP.
"""

import ipaddress
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

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
from service.environment import PREFIX, formerly_named, unknown_variables
from service.gallery.milvus.address import check_address
from service.telemetry.logs import LogFormat, LogLevel

BUILT = Path("bundles/current")
STARTER = Path("starter")


def default_bundle() -> Path:
    """Return the bundle that was built last, else the starter bundle.

    A link that leads nowhere counts as built: to serve the starter instead would hide the fault.
    """
    try:
        BUILT.lstat()
    except FileNotFoundError:
        return STARTER
    except OSError:  # `load` says why it cannot be reached
        pass
    return BUILT


def _split(value: object) -> object:
    """Split `a,b` into a tuple, and return anything else unchanged."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _expand_home(path: object) -> object:
    """Replace a leading `~` or `~user` by the home folder; return anything else unchanged."""
    if not isinstance(path, str) or not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)  # noqa: PTH111  Path.expanduser raises RuntimeError
    if expanded.startswith("~"):
        raise ValueError("this user has no home folder")
    return expanded


def _normalize_origin(origin: str) -> str:
    """Return an origin as browsers send it.

    Raises:
        ValueError: it is not an origin.

    """
    if origin in ("*", "null"):
        return origin
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode()
    except ValueError:  # UnicodeError is one
        host = ""
    if not host or parts.scheme not in _DEFAULT_PORTS:
        hint = "" if "://" in origin else f": did you mean https://{origin}?"
        raise ValueError(f"{origin} is not an origin, such as https://example.org{hint}")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{origin} is more than an origin: leave out all but the host and port")
    host = f"[{host}]" if ":" in host else host
    suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _sendable(key: SecretStr) -> SecretStr:
    """Refuse a key that no HTTP header can carry."""
    if not re.fullmatch("[!-~]+", key.get_secret_value()):
        raise ValueError("a key must consist of printable ASCII characters other than the space")
    return key


Key = Annotated[SecretStr, AfterValidator(_sendable)]
GalleryAddress = Annotated[str, BeforeValidator(_expand_home), AfterValidator(check_address)]
Origin = Annotated[str, AfterValidator(_normalize_origin)]
KeyList = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split)]


def is_path_prefix(path: str) -> bool:
    """Return whether a path, such as `/kindred`, may stand before those of the service."""
    return bool(re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path))


def _check_root_path(path: object) -> object:
    """Return a path without its last slash.

    Raises:
        ValueError: it is not a path.

    """
    if not isinstance(path, str):
        return path
    path = path.rstrip("/")
    if path and not is_path_prefix(path):
        hint = f": did you mean /{path}?" if is_path_prefix(f"/{path}") else ""
        raise ValueError(f"it is not a path such as /kindred{hint}")
    return path


def _parse_network(text: object) -> object:
    """Return an address or network.

    Raises:
        ValueError: it is neither.

    """
    if not isinstance(text, str):
        return text
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text} is not an address or a network such as 10.0.0.0/8") from None


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TrustedProxies = Annotated[
    tuple[Annotated[Network, BeforeValidator(_parse_network)], ...],
    NoDecode,
    BeforeValidator(_split),
]


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
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,  # it may be a key
        use_attribute_docstrings=True,
    )

    bundle: Annotated[Path | None, BeforeValidator(_expand_home)] = None
    """Folder of the bundle to serve. Default: bundles/current, or starter where none has been
    built.
    """
    gallery: GalleryAddress | None = None
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
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = ()
    """Origins whose web pages may call the service, such as https://example.org, separated by
    commas. Default: none.
    """

    root_path: Annotated[str, BeforeValidator(_check_root_path)] = ""
    """Path under which a proxy serves the service, such as /kindred. All addresses in responses
    begin with it. The proxy may remove the path or leave it. Default: none.
    """
    trusted_proxies: TrustedProxies = ()
    """Addresses or networks of proxies, separated by commas, whose X-Forwarded-Prefix header counts
    in place of KINDRED_ROOT_PATH. Default: none.
    """
    image_link_timeout: int = Field(3600, ge=2)
    """Seconds for which an image address in a response can be opened without a key, if reading
    needs one; at least half as long.
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

    max_connections: int = Field(2048, ge=16)
    """Connections at most. Of more, the one that has been idle longest is closed; if none is idle,
    a new one gets 503. Lowered to the limit of open files (ulimit -n) minus 64.
    """
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

    keep_alive_timeout: int = Field(130, ge=1)
    """Seconds that an idle connection stays open. Set it above the time of your proxy (nginx: 60,
    Caddy: 120). Else the proxy may send a request on a connection that is just being closed, and
    answer 502.
    """
    shutdown_delay: float = Field(0.0, ge=0)
    """Seconds after SIGTERM during which requests are still accepted while /readyz answers 503. Set
    it above the time in which your load balancer removes a replica.
    """
    graceful_shutdown_timeout: int = Field(10, ge=0)
    """Seconds for requests in flight to finish, once no more are accepted."""

    @model_validator(mode="before")
    @classmethod
    def _read_environment(cls, given: dict[str, object]) -> dict[str, object]:
        if unknown := unknown_variables(cls.model_fields):
            raise ValueError(" ".join(unknown))
        return {**formerly_named(), **given}

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
                f"OpenVINO runs on the CPU only, and KINDRED_DEVICE is {self.device}: set it or "
                "KINDRED_BACKEND to auto"
            )
        if self.max_client_batch_size > self.max_queue_size:
            raise ValueError(
                f"KINDRED_MAX_CLIENT_BATCH_SIZE is {self.max_client_batch_size}, more than "
                f"KINDRED_MAX_QUEUE_SIZE, {self.max_queue_size}: such a request could never be "
                "queued. Lower the one or raise the other."
            )
        if self.max_body_bytes > self.max_in_flight_bytes:
            raise ValueError(
                f"KINDRED_MAX_BODY_BYTES is {self.max_body_bytes}, more than "
                f"KINDRED_MAX_IN_FLIGHT_BYTES, {self.max_in_flight_bytes}: such a request could "
                "never be accepted. Lower the one or raise the other."
            )
        if not (self.api_keys or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"KINDRED_HOST is {self.host}, which other machines can reach: set "
                "KINDRED_API_KEYS, or KINDRED_ALLOW_ANONYMOUS=true to answer requests without keys"
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
