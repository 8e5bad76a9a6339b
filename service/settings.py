"""Every setting of the service, each an environment variable `KINDRED_*` with a word of advice."""

import ipaddress
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

BUILT = Path("bundles/current")
STARTER = Path("starter")


def default_bundle() -> Path:
    """The bundle that was built last, else the one that comes with the code."""
    return BUILT if BUILT.exists() else STARTER


def _split(given: object) -> object:
    """`a,b` as two; a list as it is."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return given


def _sendable(key: SecretStr) -> SecretStr:
    """Refuse what no header can carry, and so nobody could ever send."""
    if not re.fullmatch("[!-~]+", key.get_secret_value()):
        raise ValueError("a key is made of ASCII letters, digits and signs, without spaces")
    return key


Key = Annotated[SecretStr, AfterValidator(_sendable)]
KeyList = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split)]


def is_loopback(host: str) -> bool:
    """Whether a name or address is always this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """How the service runs; the defaults suit two CPU cores."""

    model_config = SettingsConfigDict(
        env_prefix="KINDRED_",
        frozen=True,
        hide_input_in_errors=True,  # it may be a key
    )

    bundle: Path | None = Field(
        None,
        description="Folder to serve; the one built last, else the starter, where not set.",
    )
    gallery: str = Field(
        "gallery",
        description="Folder for the images that are added; made when there is one. Or a Milvus "
        "that services share: milvus://host:19530/collection, or milvus:///folder/gallery.db for "
        "one in a file. Back it up with 'python -m service gallery export'.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; any but this machine's own needs api_keys, or open.",
    )
    port: int = Field(8000, ge=0, le=65535, description="0 takes any port that is free.")

    log_level: LogLevel = Field("warning", description="info adds a line for each request.")
    log_format: LogFormat = Field(
        "text",
        description="On standard error; json is one object a line, for what collects logs.",
    )
    telemetry: bool = Field(
        False,
        description="Send traces, metrics and errors of requests by OpenTelemetry; needs "
        "'fastapi[opentelemetry]'. OTEL_EXPORTER_OTLP_ENDPOINT says where to, OTEL_SERVICE_NAME "
        "as whose, and the other OTEL_* variables the rest.",
    )

    api_keys: KeyList = Field(
        (), description="Keys that may ask, with commas between; without any, everybody may."
    )
    admin_keys: KeyList = Field(
        (),
        description="Keys that may also change what is served; without any keys, whoever is on "
        "this machine may.",
    )
    open: bool = Field(
        False,
        description="Answer everybody without keys, on any address. For networks you trust.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Sites whose pages may call this service from a browser, such as "
        "https://example.org, with commas between.",
    )

    engine: BackendChoice = Field(
        "auto",
        description="What runs the network: auto, torch or openvino. auto takes OpenVINO on a CPU, "
        "where it is installed (pip install 'kindred[openvino]') and the bundle has model.onnx.",
    )
    device: str = Field(
        "auto", description="auto, cpu or cuda[:n]; auto takes the first GPU there is."
    )
    precision: ServedPrecision = Field(
        "auto",
        description="auto, fp32, bf16 or, with OpenVINO, int8; auto is the fastest that the "
        "processor has instructions for and that moves little: see docs/performance.md.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads of the network on a CPU; its own choice where not set.",
    )
    max_batch: int = Field(
        64, ge=1, description="Images run at once; on a CPU more than 64 gain nothing."
    )
    max_queue: int = Field(
        512, ge=1, description="Images that may wait; more than a deadline's worth wait in vain."
    )
    deadline: float = Field(
        10.0, gt=0, description="Seconds from a request's arrival to its answer; then 504."
    )

    max_body_bytes: int = Field(
        16 * 2**20, ge=1, description="Size of a request; a phone's photograph has 3 to 8 MB."
    )
    max_bodies_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Size of all requests together that are being read and answered; then 429.",
    )
    max_pixels: int = Field(
        25_000_000,
        ge=1,
        le=178_956_970,  # Pillow opens no more
        description="Pixels of a picture, read before decoding; each may take 24 bytes then, and "
        "as many pictures are decoded at once as there are cores.",
    )
    max_images: int = Field(
        64, ge=1, description="Images in one request; at most as many as may wait."
    )

    notice: float = Field(
        0.0,
        ge=0,
        description="Seconds that a stopping service still takes requests while /readyz says no; "
        "set it above the period at which your load balancer asks.",
    )
    drain: int = Field(10, ge=0, description="Seconds that requests under way then have to finish.")

    @field_validator("gallery")
    @classmethod
    def _the_gallery_can_be_found(cls, address: str) -> str:
        if is_milvus(address):
            MilvusAddress.parse(address)
        return address

    @field_validator("telemetry")
    @classmethod
    def _telemetry_can_be_sent(cls, on: bool) -> bool:
        if on:
            _require_exporter()
        return on

    @model_validator(mode="after")
    def _the_engine_can_run(self) -> Self:
        if self.engine == "openvino" and not has_openvino():
            raise ValueError("OpenVINO is not installed: pip install 'kindred[openvino]'")
        if self.engine == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError("OpenVINO runs on the CPU alone: leave device, or engine, to auto")
        return self

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> Self:
        if self.max_images > self.max_queue:
            raise ValueError("max_images is more than max_queue: such a request could never wait")
        return self

    @model_validator(mode="after")
    def _a_body_fits_beside_others(self) -> Self:
        if self.max_body_bytes > self.max_bodies_bytes:
            raise ValueError("max_body_bytes is more than max_bodies_bytes: it could never be sent")
        return self

    @model_validator(mode="after")
    def _strangers_need_keys(self) -> Self:
        if not (self.api_keys or self.open or is_loopback(self.host)):
            raise ValueError(
                f"at {self.host} others than this machine can ask: set KINDRED_API_KEYS, or "
                "KINDRED_OPEN=true to answer everybody"
            )
        return self


def _require_exporter() -> None:
    """FastAPI would do without an exporter, or a place to send to, and say little of it."""
    try:
        import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError as error:
        raise ValueError(
            "OpenTelemetry's exporter is not installed: pip install 'fastapi[opentelemetry]'"
        ) from error
    places = [f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_", "LOGS_")]
    if not any(map(os.environ.get, places)):
        raise ValueError(f"set {places[0]} to where it goes, such as http://localhost:4318")
