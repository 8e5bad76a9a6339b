"""Tests of the deployment files: Docker, Compose, Kubernetes, Prometheus and the workflow."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.gallery.milvus.address import MilvusAddress
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
    metrics.set_bundle("name", "version")
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


ROOT = Path(__file__).parent.parent

KUBERNETES = ROOT / "deploy/kubernetes"

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> dict[str, Manifest]:
    """What docker compose would start."""
    found: dict[str, Manifest] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
        "services"
    ]
    return found


def manifest(name: str) -> Manifest:
    """One of Kubernetes' manifests."""
    found: Manifest = yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())
    return found


def container() -> Manifest:
    """The one container of a pod."""
    (found,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_service_alone_is_what_starts_by_default(services: dict[str, Manifest]) -> None:
    assert [name for name, one in services.items() if "profiles" not in one] == ["kindred"]


def test_the_profiles_are_those_that_are_documented(services: dict[str, Manifest]) -> None:
    profiles = {name: one["profiles"] for name, one in services.items() if "profiles" in one}
    assert {name for (name,) in profiles.values()} == {"gpu", "scale", "watch"}
    scale = {name for name, (profile,) in profiles.items() if profile == "scale"}
    assert scale == {"replica", "proxy", "milvus", "etcd", "minio"}


def test_every_image_of_others_is_pinned_to_a_version(services: dict[str, Manifest]) -> None:
    images = [one["image"] for one in services.values() if "image" in one]
    assert len(images) == 6
    assert all(re.search(r":(v?\d+\.\d+\.\d+|RELEASE\.\d{4})", image) for image in images)


def test_replicas_publish_nothing_and_share_one_milvus(services: dict[str, Manifest]) -> None:
    replica = services["replica"]
    assert "ports" not in replica
    assert all(mounted.endswith(":ro") for mounted in replica["volumes"])  # they keep nothing
    assert "container_name" not in replica  # a name could be had by one alone
    place = MilvusAddress.parse(replica["environment"]["KINDRED_GALLERY"])
    assert (place.uri, place.name) == ("http://milvus:19530", "kindred")


def test_the_gpu_is_asked_for_where_it_is_used(services: dict[str, Manifest]) -> None:
    gpu = services["kindred-gpu"]
    assert gpu["environment"]["KINDRED_DEVICE"] == "cuda"
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_whoever_is_waited_for_says_when_it_is_healthy(services: dict[str, Manifest]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for service in services.values():
        for name, awaited in service.get("depends_on", {}).items():
            assert awaited == {"condition": "service_healthy"}
            assert "healthcheck" in services[name] or "HEALTHCHECK" in dockerfile
            assert services[name]["profiles"] == service["profiles"]


def test_the_proxy_goes_to_the_replicas_where_they_listen(services: dict[str, Manifest]) -> None:
    caddyfile = (ROOT / "deploy/Caddyfile").read_text()
    (name,) = re.findall(r"^\s+name (\S+)$", caddyfile, re.MULTILINE)
    (port,) = re.findall(r"^\s+port (\d+)$", caddyfile, re.MULTILINE)
    assert name in services
    assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text()
    (published,) = services["proxy"]["ports"]
    listens = published.rsplit(":", 1)[1]
    assert f"\n:{listens} {{\n" in caddyfile
    assert caddyfile.count("{") == caddyfile.count("}")


def test_no_answer_puts_a_replica_out() -> None:
    """503 is said of a single image too: one client could put out all replicas in turn."""
    lines = (ROOT / "deploy/Caddyfile").read_text().splitlines()
    told = dict(line.split(maxsplit=1) for line in map(str.strip, lines) if " " in line)
    assert "unhealthy_status" not in told
    assert "health_uri" not in told  # Caddy would not ask: the replicas are dynamic
    assert int(told["max_fails"]) > 1


def test_the_proxy_has_time_to_try_another_replica() -> None:
    caddyfile = (ROOT / "deploy/Caddyfile").read_text()
    (trying,) = re.findall(r"^\s+lb_try_duration (\d+)s$", caddyfile, re.MULTILINE)
    (dialling,) = re.findall(r"^\s+dial_timeout (\d+)ms$", caddyfile, re.MULTILINE)
    assert int(dialling) <= int(trying) * 1000 / 2


def test_there_is_a_manifest_of_every_kind() -> None:
    kinds = {
        one["kind"]
        for file in KUBERNETES.glob("*.yaml")
        if "kind" in (one := yaml.safe_load(file.read_text()))
    }
    assert kinds == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("name", ["deployment", "service", "autoscaler", "disruption"])
def test_kubernetes_takes_the_manifests(name: str, version: str) -> None:
    kubernetes_validate.validate(manifest(name), version, strict=True)


def test_what_kubernetes_does_not_know_would_be_seen() -> None:
    wrong = manifest("service")
    wrong["spec"]["prots"] = wrong["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_the_manifests_mean_the_same_pods() -> None:
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("disruption")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("autoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_ports_and_probes_are_those_of_the_service() -> None:
    (port,) = container()["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in (ROOT / "Dockerfile").read_text()
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == port["name"]
    asked = {probe: container()[probe]["httpGet"] for probe in PROBES}
    assert {one["port"] for one in asked.values()} == {port["name"]}
    assert [asked[probe]["path"] for probe in PROBES] == ["/readyz", "/livez", "/readyz"]


def test_every_setting_there_is_one() -> None:
    environment = {one["name"]: one["value"] for one in container()["env"]}
    given = {name.removeprefix("KINDRED_").lower(): value for name, value in environment.items()}
    assert set(given) <= set(Settings.model_fields)
    del given["gallery"]  # what it means is for the gallery's own tests
    settings = Settings.model_validate(given)
    cpus = container()["resources"]["requests"]["cpu"]
    assert settings.intra_op_threads == int(cpus)


def test_a_pod_that_stops_is_not_asked_any_more_before_it_closes() -> None:
    environment = {one["name"]: one["value"] for one in container()["env"]}
    probe = container()["readinessProbe"]
    notice = float(environment["KINDRED_SHUTDOWN_DELAY"])
    assert notice > probe["periodSeconds"] * probe["failureThreshold"]
    grace = manifest("deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > notice + Settings.model_fields["graceful_shutdown_timeout"].default


def test_a_pod_runs_as_the_user_of_the_image() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    user = pod["securityContext"]["runAsUser"]
    assert f"--uid {user} kindred" in (ROOT / "Dockerfile").read_text()


def test_a_pod_may_do_nothing_that_it_need_not() -> None:
    pod = manifest("deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container()["resources"]["limits"]


def test_replicas_are_scaled_by_a_measure_that_there_is() -> None:
    (measure,) = manifest("autoscaler")["spec"]["metrics"]
    name = measure["pods"]["metric"]["name"]
    assert re.search(rf"^{name} ", Metrics().exposition().decode(), re.MULTILINE)
    assert (
        float(measure["pods"]["target"]["averageValue"])
        < Settings.model_fields["max_queue_size"].default
    )
    (rule,) = manifest("metrics")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert name in rule["seriesQuery"]


def test_no_manifest_says_how_many_replicas_there_are_but_the_autoscaler() -> None:
    assert "replicas" not in manifest("deployment")["spec"]
    scaled = manifest("autoscaler")["spec"]
    assert 2 <= scaled["minReplicas"] < scaled["maxReplicas"]
