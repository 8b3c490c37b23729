"""The manifests are valid, safe, and fit together and to the service."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from shared.model_catalogue import load
from shared.settings import PREFIX, Settings
from tests.ops.compose import services
from tests.ops.kustomize import BUILDS, FOLDER, Manifest, build
from tests.ops.monitoring import labels_of
from tests.ops.test_monitoring import series

VERSIONS = (
    "1.30",
    "1.37",
)  # the oldest that has `preStop.sleep`, and the newest whose schema is at hand
SECRETS = {
    "PIGEONHOLE_REDIS_URL": "redis://:secret@redis:6379/0",
    "PIGEONHOLE_S3_ACCESS_KEY": "access",
    "PIGEONHOLE_S3_SECRET_KEY": "secret",
    "REDIS_PASSWORD": "secret",
}
BUILT = {folder: build(folder) for folder in BUILDS}
SERVICES = ("overlays/single-node", "overlays/keda")  # between them they have every manifest
MANIFESTS = {
    f"{folder}-{each['kind']}-{each['metadata']['name']}": each
    for folder in (*SERVICES, "pull-models")
    for each in BUILT[folder]
}


def of_kind(*kinds: str) -> dict[str, Manifest]:
    return {name: each for name, each in MANIFESTS.items() if each["kind"] in kinds}


WORKLOADS = of_kind("Deployment", "StatefulSet", "Job")
OURS = {name: each for name, each in WORKLOADS.items() if each["metadata"]["name"] != "redis"}


def each_of(found: dict[str, Manifest]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("manifest", found.values(), ids=found)


def pod(manifest: Manifest) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


def container(manifest: Manifest) -> dict[str, Any]:
    (only,) = pod(manifest)["containers"]
    return only


def environment(manifest: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """The variables of a workload, as its cluster would fill them."""
    found: dict[str, str] = {}
    for source in container(manifest).get("envFrom", ()):
        if "secretRef" in source:
            found |= SECRETS
        else:
            name = source["configMapRef"]["name"]
            (settings,) = [
                each
                for each in manifests
                if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", name)
            ]
            found |= settings["data"]
    for each in container(manifest).get("env", ()):
        if "value" in each:
            found[each["name"]] = each["value"]
        else:
            found[each["name"]] = SECRETS[each["valueFrom"]["secretKeyRef"]["key"]]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@each_of({k: v for k, v in MANIFESTS.items() if not v["apiVersion"].startswith("keda.sh/")})
def test_it_is_what_the_schema_of_kubernetes_allows(manifest: Manifest, version: str) -> None:
    validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", BUILDS)
def test_it_is_built_as_kustomize_builds_it(folder: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl here to compare with")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / folder)], capture_output=True, check=True, timeout=60
    )

    def by_name(manifests: list[Manifest]) -> list[Manifest]:
        return sorted(manifests, key=lambda each: (each["kind"], each["metadata"]["name"]))

    assert by_name(BUILT[folder]) == by_name(list(yaml.safe_load_all(done.stdout)))


@each_of(WORKLOADS)
def test_it_runs_without_rights_on_a_root_that_is_read_only(manifest: Manifest) -> None:
    assert pod(manifest)["securityContext"]["runAsNonRoot"] is True
    assert pod(manifest)["securityContext"]["runAsUser"] > 0
    assert pod(manifest)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(manifest)["automountServiceAccountToken"] is False
    assert container(manifest)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@each_of(WORKLOADS)
def test_no_service_of_the_namespace_adds_variables_that_stop_the_start(manifest: Manifest) -> None:
    assert pod(manifest)["enableServiceLinks"] is False


@each_of(WORKLOADS)
def test_its_resources_have_a_floor_and_its_memory_a_ceiling(manifest: Manifest) -> None:
    resources = container(manifest)["resources"]

    assert resources["requests"].keys() == {"cpu", "memory"}
    assert "memory" in resources["limits"]
    assert "cpu" not in resources["limits"]


@each_of(WORKLOADS)
def test_what_it_mounts_is_there(manifest: Manifest) -> None:
    volumes = {each["name"]: each for each in pod(manifest).get("volumes", ())}
    claimed = {
        each["metadata"]["name"] for each in manifest["spec"].get("volumeClaimTemplates", ())
    }
    claims = {each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim").values()}

    mounted = {each["name"] for each in container(manifest)["volumeMounts"]}
    assert mounted == volumes.keys() | claimed
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims


@each_of(of_kind("Deployment"))
def test_it_may_take_as_long_to_stop_as_the_process_does(manifest: Manifest) -> None:
    settings = Settings()
    before_s = container(manifest).get("lifecycle", {}).get("preStop", {})
    wait_s = before_s.get("sleep", {}).get("seconds", 0)

    grace_s = pod(manifest)["terminationGracePeriodSeconds"]
    assert grace_s >= wait_s + settings.shutdown_grace_s + 5


@each_of(of_kind("Deployment"))
def test_it_is_probed_on_a_port_that_it_has(manifest: Manifest) -> None:
    ports = {each["name"] for each in container(manifest)["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(manifest)[probe]["httpGet"]["port"] in ports


@each_of(OURS)
def test_its_settings_are_settings(manifest: Manifest) -> None:
    (manifests,) = [found for found in BUILT.values() if manifest in found][:1]
    variables = environment(manifest, manifests)

    Settings.from_env({k: v for k, v in variables.items() if k.startswith(PREFIX)})


@each_of(OURS)
def test_its_image_is_one_that_compose_builds(manifest: Manifest) -> None:
    images = {each.raw["image"] for each in services().values() if "build" in each.raw}

    assert container(manifest)["image"] in images


@pytest.mark.parametrize("folder", SERVICES)
def test_a_budget_is_of_pods_that_exist_and_lets_a_node_be_drained(folder: str) -> None:
    deployed = {
        each["metadata"]["name"]: each for each in BUILT[folder] if each["kind"] == "Deployment"
    }
    budgets = [each for each in BUILT[folder] if each["kind"] == "PodDisruptionBudget"]

    assert budgets
    for budget in budgets:
        target = deployed[budget["metadata"]["name"]]
        assert budget["spec"]["selector"] == target["spec"]["selector"]
        if "minAvailable" in budget["spec"]:
            assert target["spec"]["replicas"] > budget["spec"]["minAvailable"]


@each_of(of_kind("Service"))
def test_a_service_leads_to_pods_and_to_a_port_of_theirs(manifest: Manifest) -> None:
    selector = manifest["spec"]["selector"]
    targets = [
        each
        for each in WORKLOADS.values()
        if selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]

    assert {each["metadata"]["name"] for each in targets} == {manifest["metadata"]["name"]}
    for port in manifest["spec"]["ports"]:
        assert port["targetPort"] in {each["name"] for each in container(targets[0])["ports"]}


def test_nothing_is_allowed_that_no_policy_names() -> None:
    policies = [each for each in BUILT["base"] if each["kind"] == "NetworkPolicy"]
    (default,) = [each for each in policies if each["metadata"]["name"] == "default-deny"]

    assert default["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    blocks = [
        peer["ipBlock"]
        for each in policies
        for rule in each["spec"].get("egress", ())
        for peer in rule.get("to", ())
    ]
    assert {block["cidr"]: block["except"] for block in blocks} == {
        "0.0.0.0/0": ["169.254.0.0/16"],
        "::/0": ["fe80::/10", "fd00:ec2::/32"],
    }


def test_the_job_pulls_models_of_the_catalogue_to_where_workers_look() -> None:
    (job,) = of_kind("Job").values()
    program, *words = container(job)["command"]

    assert (program, words[:2]) == ("pigeonhole-server", ["models", "pull"])
    catalogue = load(default=Settings().default_model)
    assert [catalogue.find(name).name for name in words[2:]] == words[2:]
    for each in (job, *(w for n, w in OURS.items() if "worker" in n)):
        places = {m["name"]: m["mountPath"] for m in container(each)["volumeMounts"]}
        variables = {v["name"]: v["value"] for v in container(each)["env"]}
        assert places["models"] == variables["HF_HOME"]


def triggers() -> Iterator[tuple[Manifest, dict[str, str]]]:
    for scaled in of_kind("ScaledObject").values():
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["type"] == "prometheus"
            yield scaled, trigger["metadata"]


def test_workers_scale_by_what_waits_for_a_model_that_they_hold() -> None:
    deployed = {each["metadata"]["name"]: each for each in of_kind("Deployment").values()}
    catalogue, known = load(default=Settings().default_model), series()

    assert {scaled["metadata"]["name"] for scaled, _ in triggers()} == {"worker-cpu", "worker-gpu"}
    for scaled, trigger in triggers():
        target = deployed[scaled["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "KEDA decides"
        ((metric, labels),) = labels_of(trigger["query"]).items()
        assert (metric, labels) == ("pigeonhole_queue_waiting", known[metric])
        variables = {v["name"]: v.get("value") for v in container(target)["env"]}
        named = variables.get("PIGEONHOLE_MODELS", Settings().default_model).split(",")
        held = {
            model
            for name in named
            for model in (catalogue.auto.models if catalogue.is_auto(name) else [name])
        }
        models = re.search(r'model=~?"([^"]+)"', trigger["query"])
        assert models
        assert set(models[1].split("|")) == held
        assert float(trigger["threshold"]) >= 1


def test_the_page_applies_folders_that_exist() -> None:
    page = (FOLDER.parents[1] / "docs" / "operations" / "kubernetes.md").read_text("utf-8")
    applied = re.findall(r"-k (ops/kubernetes/\S+?)[`\s]", page)

    assert applied
    for each in applied:
        assert str(each).removeprefix("ops/kubernetes/").rstrip("/") in BUILDS
