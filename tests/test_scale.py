"""What runs on many machines can only be read here: the composition, the proxy, the manifests."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.gallery.milvus.address import Place
from service.settings import Settings
from service.telemetry.metrics import Metrics

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
    place = Place.parse(replica["environment"]["KINDRED_GALLERY"])
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
    assert settings.threads == int(cpus)


def test_a_pod_that_stops_is_not_asked_any_more_before_it_closes() -> None:
    environment = {one["name"]: one["value"] for one in container()["env"]}
    probe = container()["readinessProbe"]
    notice = float(environment["KINDRED_NOTICE"])
    assert notice > probe["periodSeconds"] * probe["failureThreshold"]
    grace = manifest("deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > notice + Settings.model_fields["drain"].default


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
        < Settings.model_fields["max_queue"].default
    )
    (rule,) = manifest("metrics")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert name in rule["seriesQuery"]


def test_no_manifest_says_how_many_replicas_there_are_but_the_autoscaler() -> None:
    assert "replicas" not in manifest("deployment")["spec"]
    scaled = manifest("autoscaler")["spec"]
    assert 2 <= scaled["minReplicas"] < scaled["maxReplicas"]
