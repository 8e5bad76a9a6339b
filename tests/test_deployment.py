"""Tests of the deployment files: make, the workflow, Docker, Compose, Caddy and Prometheus."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.gallery.factory import GALLERIES
from service.gallery.milvus.address import MilvusAddress
from service.settings import BUILT, STARTER, Settings
from service.telemetry.metrics import Metrics
from tests.support.processes import ROOT
from training import bundle

Manifest = dict[str, Any]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def captured(pattern: str, name: str) -> list[str]:
    """Return what a pattern captures in a file; `^` and `$` match at lines."""
    found: list[str] = re.findall(pattern, read(name), re.MULTILINE)
    return found


def compose() -> Manifest:
    found: Manifest = yaml.safe_load(read("docker-compose.yml"))
    return found


@pytest.fixture
def services() -> dict[str, Manifest]:
    """All services of docker compose."""
    found: dict[str, Manifest] = compose()["services"]
    return found


@pytest.fixture
def built(services: dict[str, Manifest]) -> dict[str, Manifest]:
    """The services of docker compose that run kindred."""
    return {name: service for name, service in services.items() if "build" in service}


def panels() -> list[Manifest]:
    return list(json.loads(read("deploy/grafana/dashboards/kindred.json"))["panels"])


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_the_workflow_runs_the_make_targets() -> None:
    jobs = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]
    commands = {
        name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()
    }
    assert commands == {"test": ["make test"], "soak": ["make soak"]}


def test_make_reports_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text(read("Makefile"))
    (tmp_path / "requirements.lock").touch()
    command = ["make", "serve", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "kindred needs Python 3.11 or later" in done.stderr
    assert "Python 3.9.2" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-milvus.lock",
        "requirements-dev.lock",
        "benchmarks/peers.lock",
    ],
)
def test_every_dependency_is_pinned_with_hashes_and_without_urls(name: str) -> None:
    text = read(name)
    requirements = text.replace("\\\n", " ").splitlines()
    assert requirements
    assert all(
        re.match(r"[\w.-]+(\[\w+\])?==\S+ .*--hash=sha256:\w{64}", one) for one in requirements
    )
    assert "://" not in text


def test_the_lock_file_has_the_dependencies_of_pyproject() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    required = sum((extras[one] for one in ("bundle", "serve", "train")), project["dependencies"])
    names = {re.split(r"[^\w-]", one)[0].lower() for one in required}
    assert names - {"kindred"} <= set(captured(r"^([\w-]+)==", "requirements.lock"))


def test_the_starter_bundle_verifies_and_is_small() -> None:
    starter = bundle.load(ROOT / "starter")
    assert len(starter.gallery) == 1000
    assert starter.gallery.pixels is None
    assert sum(file.bytes for file in starter.manifest.files.values()) <= 45 * 2**20
    assert {one.status for one in starter.records} <= {"finished", "collapsed"}


def test_the_repository_has_no_pickles_archives_or_photos() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    forbidden = re.compile(r"\.(pkl|pickle|pt|pth|npz|tar|gz|zip|xz|jpe?g)$")
    assert [name for name in listed if forbidden.search(name)] == []


def test_the_dockerfile_copies_only_files_that_exist() -> None:
    copied = captured(r"^COPY (\S+) ", "Dockerfile")
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    included = read(".dockerignore").splitlines()
    assert all(f"!{name}" in included for name in copied)


def test_only_the_service_starts_by_default(services: dict[str, Manifest]) -> None:
    assert [name for name, one in services.items() if "profiles" not in one] == ["kindred"]
    assert services["kindred"]["build"] == "."


def test_the_profiles_are_those_that_are_documented(services: dict[str, Manifest]) -> None:
    profiles = {name: one["profiles"] for name, one in services.items() if "profiles" in one}
    assert {name for (name,) in profiles.values()} == {"gpu", "scale", "watch"}
    scale = {name for name, (profile,) in profiles.items() if profile == "scale"}
    assert scale == {"replica", "proxy", "milvus", "etcd", "minio"}


def test_every_published_port_is_on_loopback_only(services: dict[str, Manifest]) -> None:
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert services["kindred"]["ports"]


def test_every_mounted_file_and_volume_exists(services: dict[str, Manifest]) -> None:
    mounted = {one.split(":")[0] for service in services.values() for one in service["volumes"]}
    files = {one for one in mounted if one.startswith("./")}
    assert len(files) == 5
    assert all((ROOT / name).exists() for name in files)
    assert mounted - files == set(compose()["volumes"])


def test_compose_mounts_the_parent_folder_of_the_current_bundle(
    services: dict[str, Manifest],
) -> None:
    """If the bundle itself were mounted, a reload would never find another one."""
    service = services["kindred"]
    (workdir,) = captured(r"^WORKDIR (\S+)", "Dockerfile")
    assert service["volumes"][0] == f"./{BUILT.parent}:{workdir}/{BUILT.parent}:ro"
    assert f"COPY {STARTER} ./{STARTER}" in read("Dockerfile")
    assert "KINDRED_BUNDLE" not in read("Dockerfile") + str(service["environment"])


def test_added_images_are_on_a_volume(services: dict[str, Manifest]) -> None:
    assert services["kindred"]["volumes"][1:] == [f"gallery:/app/{GALLERIES}"]
    assert f"install --directory --owner kindred {GALLERIES}" in read("Dockerfile")


def test_every_image_of_others_is_pinned_to_a_version(services: dict[str, Manifest]) -> None:
    images = [one["image"] for one in services.values() if "image" in one]
    assert len(images) == 6
    assert all(re.search(r":(v?\d+\.\d+\.\d+|RELEASE\.\d{4})", image) for image in images)


def test_every_kindred_service_has_the_keys_of_the_environment(built: dict[str, Manifest]) -> None:
    assert len(built) == 3
    for service in built.values():
        for name in ("KINDRED_API_KEYS", "KINDRED_ADMIN_KEYS"):
            assert service["environment"][name] == f"${{{name}:-}}"


def test_empty_keys_mean_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose passes empty variables if the keys are not set."""
    monkeypatch.setenv("KINDRED_API_KEYS", "")
    monkeypatch.setenv("KINDRED_ADMIN_KEYS", "")
    settings = Settings()
    assert (settings.api_keys, settings.admin_keys) == ((), ())


def test_replicas_publish_no_port_and_share_one_milvus(services: dict[str, Manifest]) -> None:
    replica = services["replica"]
    assert "ports" not in replica
    assert all(mounted.endswith(":ro") for mounted in replica["volumes"])  # no state of their own
    assert "container_name" not in replica  # only one container could have the name
    address = MilvusAddress.parse(replica["environment"]["KINDRED_GALLERY"])
    assert (address.uri, address.name) == ("http://milvus:19530", "kindred")


def test_the_gpu_service_reserves_a_gpu(services: dict[str, Manifest]) -> None:
    gpu = services["kindred-gpu"]
    assert gpu["environment"]["KINDRED_DEVICE"] == "cuda"
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_services_start_after_their_dependencies_are_healthy(
    services: dict[str, Manifest],
) -> None:
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[name] or "HEALTHCHECK" in read("Dockerfile")
            assert services[name]["profiles"] == service["profiles"]


def test_the_proxy_has_the_address_of_the_replicas(services: dict[str, Manifest]) -> None:
    (name,) = captured(r"^\s+name (\S+)$", "deploy/Caddyfile")
    (port,) = captured(r"^\s+port (\d+)$", "deploy/Caddyfile")
    assert name in services
    assert f"EXPOSE {port}\n" in read("Dockerfile")
    (published,) = services["proxy"]["ports"]
    listens = published.rsplit(":", 1)[1]
    caddyfile = read("deploy/Caddyfile")
    assert f"\n:{listens} {{\n" in caddyfile
    assert caddyfile.count("{") == caddyfile.count("}")


def test_no_response_removes_a_replica_from_the_proxy() -> None:
    """503 may concern a single image: one client could remove all replicas."""
    lines = map(str.strip, read("deploy/Caddyfile").splitlines())
    options = dict(line.split(maxsplit=1) for line in lines if " " in line)
    assert "unhealthy_status" not in options
    assert "health_uri" not in options  # has no effect: the replicas are dynamic
    assert int(options["max_fails"]) > 1


def test_the_proxy_has_time_to_try_another_replica() -> None:
    (trying,) = captured(r"^\s+lb_try_duration (\d+)s$", "deploy/Caddyfile")
    (dialling,) = captured(r"^\s+dial_timeout (\d+)ms$", "deploy/Caddyfile")
    assert int(dialling) <= int(trying) * 1000 / 2


def test_prometheus_scrapes_every_kindred_container(built: dict[str, Manifest]) -> None:
    (job,) = yaml.safe_load(read("deploy/prometheus.yml"))["scrape_configs"]
    (targets,) = job["dns_sd_configs"]
    assert set(targets["names"]) == set(built)
    assert targets["type"] == "A"
    assert f"EXPOSE {targets['port']}\n" in read("Dockerfile")


def test_the_data_of_prometheus_is_on_a_volume(services: dict[str, Manifest]) -> None:
    assert "prometheus:/prometheus" in services["prometheus"]["volumes"]


def test_the_dashboard_queries_all_metrics_and_no_others() -> None:
    metrics = Metrics()
    metrics.set_bundle("name", "version")
    metrics.batch.observe(1)
    for labelled in (metrics.requests.labels("/", 200), metrics.images.labels("answered")):
        labelled.inc()
    metrics.rejections.labels("reason").inc()
    metrics.changes.labels("created").inc()
    metrics.seconds.labels("/").observe(1)
    metrics.stages.labels("decode").observe(1)
    measured = set(re.findall(r"^(\w+)[{ ]", metrics.exposition()[0].decode(), re.MULTILINE))
    queried = set(re.findall(r"(?:kindred|process)_\w+", " ".join(expressions())))
    assert queried <= measured
    own = {name for name in measured if name.startswith("kindred_")}
    families = {re.sub(r"_(bucket|sum|count|total|created|info)$", "", name) for name in own}
    assert families == {
        re.sub(r"_(bucket|sum|count|total|info)$", "", name) for name in queried & own
    }


def test_the_dashboard_groups_requests_by_route_and_status() -> None:
    (panel,) = (one for one in panels() if one["title"] == "Requests")
    (target,) = panel["targets"]
    assert target["expr"].startswith("sum by (route, status) (rate(kindred_requests_total[")
    assert target["legendFormat"] == "{{route}} {{status}}"
