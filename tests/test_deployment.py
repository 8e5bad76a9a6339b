"""What cannot be run everywhere is at least read: container, workflow, lock files, ignores."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from service.settings import BUILT, STARTER, Settings
from service.telemetry.metrics import Metrics
from training import bundle

ROOT = Path(__file__).parent.parent


def test_the_workflow_runs_the_tests_as_people_do() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make test"]


def test_compose_builds_the_service_and_publishes_it_on_loopback_alone() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    service = compose["services"]["kindred"]
    assert service["build"] == "."
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_every_published_port_is_on_this_machine_alone() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    ports = [port for one in compose["services"].values() for port in one.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_compose_mounts_is_there() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounted = [one for service in compose["services"].values() for one in service["volumes"]]
    ours = {one.split(":")[0] for one in mounted if one.startswith("./")}
    assert len(ours) == 5
    assert all((ROOT / name).exists() for name in ours)
    named = {one.split(":")[0] for one in mounted if not one.startswith("./")}
    assert named == set(compose["volumes"])


def test_compose_mounts_the_folder_in_which_the_current_bundle_is_replaced() -> None:
    """Were the bundle itself mounted, a reload would never see another."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kindred"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    (workdir,) = re.findall(r"^WORKDIR (\S+)", dockerfile, re.MULTILINE)
    assert service["volumes"][0] == f"./{BUILT.parent}:{workdir}/{BUILT.parent}:ro"
    assert f"COPY {STARTER} ./{STARTER}" in dockerfile
    assert "KINDRED_BUNDLE" not in dockerfile + str(service["environment"])


def test_what_is_added_outlives_the_container() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kindred"]
    folder = Settings.model_fields["gallery"].default
    assert service["volumes"][1:] == [f"gallery:/app/{folder}"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"install --directory --owner kindred {folder}" in dockerfile


def test_the_dashboard_asks_only_for_what_is_measured() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/kindred.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"(?:kindred|process)_\w+", target["expr"])
    }
    metrics = Metrics()
    metrics.serves("name", "version")
    metrics.batch.observe(1)
    for labelled in (metrics.requests.labels("/", 200), metrics.images.labels("answered")):
        labelled.inc()
    metrics.rejections.labels("reason").inc()
    metrics.changes.labels("created").inc()
    metrics.seconds.labels("/").observe(1)
    metrics.stages.labels("decode").observe(1)
    measured = set(re.findall(r"^(\w+)[{ ]", metrics.exposition().decode(), re.MULTILINE))
    own = {name for name in measured if name.startswith("kindred_")}
    assert asked <= measured
    families = {re.sub(r"_(bucket|sum|count|total|created|info)$", "", name) for name in own}
    assert families == {
        re.sub(r"_(bucket|sum|count|total|info)$", "", name) for name in asked & own
    }


def test_the_dashboard_tells_requests_by_route_and_status() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/kindred.json").read_text())
    (panel,) = (one for one in dashboard["panels"] if one["title"] == "Requests")
    (target,) = panel["targets"]
    assert target["expr"].startswith("sum by (route, status) (rate(kindred_requests_total[")
    assert target["legendFormat"] == "{{route}} {{status}}"


def test_prometheus_asks_every_container_that_serves() -> None:
    asked = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = asked["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(found["names"]) == {
        name for name, service in compose["services"].items() if "build" in service
    }
    assert found["type"] == "A"
    assert f"EXPOSE {found['port']}\n" in (ROOT / "Dockerfile").read_text()


def test_what_prometheus_has_measured_outlives_the_container() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert "prometheus:/prometheus" in compose["services"]["prometheus"]["volumes"]


def test_whatever_serves_takes_the_keys_of_the_environment() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    serving = [service for service in compose["services"].values() if "build" in service]
    assert len(serving) == 3
    for service in serving:
        for name in ("KINDRED_API_KEYS", "KINDRED_ADMIN_KEYS"):
            assert service["environment"][name] == f"${{{name}:-}}"


def test_keys_that_are_empty_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """So compose gives them where nobody has set any."""
    monkeypatch.setenv("KINDRED_API_KEYS", "")
    monkeypatch.setenv("KINDRED_ADMIN_KEYS", "")
    settings = Settings()
    assert (settings.api_keys, settings.admin_keys) == ((), ())


def test_the_container_copies_only_what_there_is() -> None:
    copied = re.findall(r"^COPY (\S+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{name}" in kept for name in copied)


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-milvus.lock",
        "requirements-dev.lock",
        "benchmarks/peers.lock",
    ],
)
def test_every_dependency_is_pinned_with_hashes_and_without_addresses(name: str) -> None:
    text = (ROOT / name).read_text()
    requirements = text.replace("\\\n", " ").splitlines()
    assert requirements
    assert all(
        re.match(r"[\w.-]+(\[\w+\])?==\S+ .*--hash=sha256:\w{64}", one) for one in requirements
    )
    assert "://" not in text


def test_what_pyproject_asks_for_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[^\w-]", one)[0].lower() for one in project["dependencies"]}
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert asked <= locked


def test_the_starter_bundle_verifies_and_is_small() -> None:
    starter = bundle.load(ROOT / "starter")
    assert len(starter.gallery) == 1000
    assert starter.gallery.pixels is None
    assert sum(file.bytes for file in starter.manifest.files.values()) < 45_000_000
    assert {one.status for one in starter.records} <= {"finished", "collapsed"}


def test_nothing_in_the_repository_is_a_pickle_or_an_archive() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    forbidden = re.compile(r"\.(pkl|pickle|pt|pth|npz|tar|gz|zip|xz|jpe?g)$")
    assert [name for name in listed if forbidden.search(name)] == []


def test_make_says_so_where_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.lock").touch()
    made = subprocess.run(
        ["make", "serve", f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    assert "kindred needs Python 3.11 or later" in made.stderr
    assert "Python 3.9.2" in made.stderr
