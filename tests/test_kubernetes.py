"""Tests of the Kubernetes manifests: valid, and consistent with the image and the settings."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.support.processes import ROOT

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

Manifest = dict[str, Any]


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def manifest(name: str) -> Manifest:
    """Read a Kubernetes manifest."""
    found: Manifest = yaml.safe_load((ROOT / f"deploy/kubernetes/{name}.yaml").read_text())
    return found


def pod() -> Manifest:
    return dict(manifest("deployment")["spec"]["template"]["spec"])


def container() -> Manifest:
    (found,) = pod()["containers"]
    return dict(found)


def environment() -> dict[str, str]:
    return {one["name"]: one["value"] for one in container()["env"]}


def test_there_is_a_manifest_of_every_kind() -> None:
    files = (ROOT / "deploy/kubernetes").glob("*.yaml")
    documents = [yaml.safe_load(file.read_text()) for file in files]
    kinds = {one["kind"] for one in documents if "kind" in one}
    assert kinds == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("name", ["deployment", "service", "autoscaler", "disruption"])
def test_the_manifests_are_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(manifest(name), version, strict=True)


def test_an_unknown_field_of_a_manifest_is_an_error() -> None:
    wrong = manifest("service")
    wrong["spec"]["prots"] = wrong["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_all_manifests_select_the_same_pods() -> None:
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("disruption")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("autoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_ports_and_probes_are_those_of_the_service() -> None:
    (port,) = container()["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile()
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = [container()[probe]["httpGet"] for probe in PROBES]
    assert {probe["port"] for probe in probes} == {port["name"]}
    assert [probe["path"] for probe in probes] == ["/readyz", "/livez", "/readyz"]


def test_every_variable_of_a_pod_is_a_setting() -> None:
    given = {name.removeprefix("KINDRED_").lower(): value for name, value in environment().items()}
    assert set(given) <= set(Settings.model_fields)
    del given["gallery"]  # the tests of the gallery check its value
    settings = Settings.model_validate(given)
    assert settings.intra_op_threads == int(container()["resources"]["requests"]["cpu"])


def test_kubernetes_adds_no_variables_of_the_service() -> None:
    """Those of a Service named kindred begin with KINDRED_, and one of them is KINDRED_PORT."""
    assert pod()["enableServiceLinks"] is False


def test_a_pod_leaves_the_service_before_it_closes() -> None:
    probe = container()["readinessProbe"]
    delay = float(environment()["KINDRED_SHUTDOWN_DELAY"])
    assert delay > probe["periodSeconds"] * probe["failureThreshold"]
    timeout = Settings.model_fields["graceful_shutdown_timeout"].default
    assert pod()["terminationGracePeriodSeconds"] > delay + timeout


def test_a_pod_runs_as_the_user_of_the_image() -> None:
    user = pod()["securityContext"]["runAsUser"]
    assert f"--uid {user} kindred" in dockerfile()


def test_a_pod_has_no_privileges_that_it_does_not_need() -> None:
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container()["resources"]["limits"]


def test_the_autoscaler_uses_a_metric_that_exists() -> None:
    (measure,) = manifest("autoscaler")["spec"]["metrics"]
    name = measure["pods"]["metric"]["name"]
    assert re.search(rf"^{name} ", Metrics().exposition()[0].decode(), re.MULTILINE)
    target = float(measure["pods"]["target"]["averageValue"])
    assert target < Settings.model_fields["max_queue_size"].default
    (rule,) = manifest("metrics")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert name in rule["seriesQuery"]


def test_only_the_autoscaler_sets_the_number_of_replicas() -> None:
    assert "replicas" not in manifest("deployment")["spec"]
    scaled = manifest("autoscaler")["spec"]
    assert 2 <= scaled["minReplicas"] < scaled["maxReplicas"]
