"""The manifests of deploy/kubernetes: valid, and in agreement with the images and the settings."""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from types import ModuleType

import pytest

from fedmx import __version__
from fedmx.errors import SettingsError, TooFewNodesError, TrainingFailedError
from fedmx.fields import list_names, parse
from fedmx.settings import ClientSettings, ServerSettings
from tests.kubernetes.manifests import (
    FOLDER,
    OVERLAYS,
    USERS_OVERLAY,
    Object,
    Workload,
    find_workload,
    list_probes,
    list_workloads,
    name_of,
    read_compose,
    read_environment,
    read_rendered,
    render,
    run_kustomize,
)
from tests.tools import ROOT

# Definitions of resources that are no part of Kubernetes; test_cert_manager.py is about them.
_OTHERS = "cert-manager.io/v1"
_SETTINGS: Mapping[str, type] = {
    "server": ServerSettings,
    "serverapp": ServerSettings,
    "client": ClientSettings,
    "clientapp": ClientSettings,
}
_SECRETS = re.compile(r"server-certificate|fleet|supernode-\d+|site-[a-z0-9-]+")
_DOCKERFILES = {program: (ROOT / f"Dockerfile.{program}").read_text() for program in ("server", "client")}


@pytest.fixture(scope="module", params=[*OVERLAYS, "everything"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of an overlay, and of one that a user might write."""
    return render(USERS_OVERLAY) if request.param == "everything" else read_rendered(request.param)


def list_containers(objects: list[Object]) -> Iterator[tuple[Workload, Object]]:
    for workload in list_workloads(objects):
        for container in workload.containers:
            yield workload, container


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_rendered_file_is_what_kustomize_renders(name: str) -> None:
    rendered = (FOLDER / "rendered" / f"{name}.yaml").read_text()
    assert rendered.partition("\n")[2] == run_kustomize(FOLDER / "overlays" / name), (
        "run deploy/kubernetes/render.sh"
    )


@pytest.fixture(scope="module")
def schemas() -> ModuleType:
    """The module `kubernetes_validate`; at the top, it would cost each process that collects a second."""
    return importlib.import_module("kubernetes_validate")


def test_every_object_passes_the_schema_of_the_newest_kubernetes(
    objects: list[Object], schemas: ModuleType
) -> None:
    version = schemas.latest_version()
    for each in objects:
        if each["apiVersion"] != _OTHERS:
            schemas.validate(each, version, strict=True)


def test_the_schema_refuses_a_field_that_does_not_exist(schemas: ModuleType) -> None:
    job = {**find_workload(read_rendered("local"), "Job/server").facts, "retries": 1}
    with pytest.raises(schemas.ValidationError, match="retries"):
        schemas.validate(job, schemas.latest_version(), strict=True)


def test_objects_have_names_of_their_own(objects: list[Object]) -> None:
    names = [name_of(each) for each in objects]
    assert len(names) == len(set(names))


def test_what_pods_refer_to_exists_or_is_a_secret_that_the_docs_create(objects: list[Object]) -> None:
    names = {name_of(each) for each in objects}
    for each in objects:
        for template in each.get("spec", {}).get("volumeClaimTemplates", ()):
            names.add(f"PersistentVolumeClaim/{template['metadata']['name']}-{each['metadata']['name']}-0")
    for workload, container in list_containers(objects):
        for source in container.get("envFrom", ()):
            assert f"ConfigMap/{source['configMapRef']['name']}" in names
        for volume in workload.volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert f"PersistentVolumeClaim/{claim['claimName']}" in names
            sources = volume.get("projected", {}).get("sources", [volume])
            for source in sources:
                if secret := source.get("secret"):
                    assert _SECRETS.fullmatch(secret.get("secretName") or secret["name"])
                if config := source.get("configMap"):
                    assert f"ConfigMap/{config['name']}" in names


def test_every_volume_is_mounted_and_every_mount_is_a_volume(objects: list[Object]) -> None:
    for workload in list_workloads(objects):
        mounted = {mount["name"] for each in workload.containers for mount in each["volumeMounts"]}
        assert mounted == set(workload.volumes), workload.name


def test_a_claim_template_and_a_service_belong_to_each_stateful_set(objects: list[Object]) -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
    for each in objects:
        if each["kind"] == "StatefulSet":
            assert services[each["spec"]["serviceName"]]["clusterIP"] == "None"


def test_deployments_select_their_own_pods_and_no_others(objects: list[Object]) -> None:
    workloads = list_workloads(objects)
    for workload in workloads:
        if workload.facts["kind"] == "Job":
            continue
        wanted = workload.facts["spec"]["selector"]["matchLabels"].items()
        selected = [other.name for other in workloads if wanted <= other.labels.items()]
        assert selected == [workload.name]


def test_services_select_pods_that_have_their_ports(objects: list[Object]) -> None:
    for service in [each for each in objects if each["kind"] == "Service"]:
        selector = service["spec"]["selector"].items()
        selected = [each for each in list_workloads(objects) if selector <= each.labels.items()]
        assert selected, name_of(service)
        for workload in selected:
            ports = {port["name"] for each in workload.containers for port in each.get("ports", ())}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_every_pod_is_restricted_by_a_network_policy(objects: list[Object]) -> None:
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    for workload in list_workloads(objects):
        kinds = {
            kind
            for policy in policies
            if policy["podSelector"]["matchLabels"].items() <= workload.labels.items()
            for kind in policy["policyTypes"]
        }
        assert kinds == {"Ingress", "Egress"}, workload.name


def test_network_policies_name_pods_and_ports_that_exist(objects: list[Object]) -> None:
    workloads = list_workloads(objects)
    ports = {
        value
        for _, container in list_containers(objects)
        for port in container.get("ports", ())
        for value in (port["name"], port["containerPort"])
    }
    for policy in [each for each in objects if each["kind"] == "NetworkPolicy"]:
        rules = [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]
        for rule in rules:
            peers = rule.get("from") or rule["to"]
            own = [peer["podSelector"] for peer in peers if list(peer) == ["podSelector"]]
            for selector in own:
                assert any(selector["matchLabels"].items() <= each.labels.items() for each in workloads)
            if own:
                assert {port["port"] for port in rule["ports"]} <= ports


def test_every_variable_is_a_setting_of_its_program_with_a_valid_value(objects: list[Object]) -> None:
    for _, container in list_containers(objects):
        kind = _SETTINGS.get(container["name"])
        variables = read_environment(objects, container)
        if kind is None:
            assert not container.get("envFrom")
            continue
        unknown = [name for name in variables if name not in list_names(kind)]
        assert [name for name in unknown if not name.startswith(("X_", "FLWR_"))] == []
        assert parse(kind, variables)[1] == []
        # A variable of the container would hide the user's choice in the ConfigMap.
        maps = read_environment(objects, {"envFrom": container["envFrom"]})
        own = {variable["name"] for variable in container["env"]}
        assert maps.keys().isdisjoint(own), container["name"]


def test_clients_dial_a_port_of_a_service_that_is_in_every_servers_certificate(
    objects: list[Object],
) -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Service"}
    for _, container in list_containers(objects):
        if container["name"] == "client":
            host, _, port = read_environment(objects, container)["SERVER_ADDRESS"].partition(":")
            assert host == "server"
            assert int(port) in {each["port"] for each in services[host]["ports"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_are_those_that_make_build_builds(name: str) -> None:
    found = {container["image"] for _, container in list_containers(read_rendered(name))}
    assert found <= {f"fedmx-{program}:{__version__}" for program in ("server", "client")}


def test_pods_meet_the_restricted_pod_security_standard(objects: list[Object]) -> None:
    for workload, container in list_containers(objects):
        pod, security = workload.pod, container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"privileged", "runAsUser"}.isdisjoint(security)
        assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC", "serviceAccountName"))
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert {"memory", "cpu"} <= container["resources"]["limits"].keys()
        kinds = {kind for volume in workload.volumes.values() for kind in volume} - {"name"}
        assert kinds <= {"secret", "projected", "configMap", "emptyDir", "persistentVolumeClaim"}


def test_pods_run_as_the_images_user_with_its_paths(objects: list[Object]) -> None:
    for workload, container in list_containers(objects):
        security = workload.pod["securityContext"]
        program = "client" if "client" in container["image"] else "server"
        [user] = set(re.findall(r"^USER (\d+:\d+)$", _DOCKERFILES[program], re.MULTILINE))
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
        assert security["fsGroup"] == security["runAsGroup"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        if container["name"] == "server":
            assert {"/runs", "/certs", "/tmp"} <= mounts  # noqa: S108 - a volume
            ports = {port["containerPort"] for port in container["ports"]}
            [exposed] = re.findall(r"^EXPOSE (.*)$", _DOCKERFILES["server"], re.MULTILINE)
            assert ports == set(map(int, exposed.split()))


def test_probes_ask_what_the_images_health_check_asks() -> None:
    [server] = find_workload(read_rendered("local"), "Job/server").containers
    [check] = re.findall(r"^HEALTHCHECK .*\n    CMD (.*)$", _DOCKERFILES["server"], re.MULTILINE)
    assert server["startupProbe"]["exec"]["command"] == ["sh", "-c", check]
    assert server["readinessProbe"]["exec"]["command"] == ["sh", "-c", check]
    assert (
        " ".join(server["livenessProbe"]["exec"]["command"]) == check.partition("exec ")[2].rpartition(" ")[0]
    )
    # The image's command writes the file that the check reads.
    assert "command" not in server
    assert json.dumps("/tmp/serving") in _DOCKERFILES["server"].rpartition("\nCMD ")[2]  # noqa: S108 - in the image
    assert len(list(list_probes(server))) == 3


@pytest.mark.parametrize(
    ("workload", "service"),
    [
        ("StatefulSet/superlink", "superlink"),
        ("Job/register", "register"),
        ("Deployment/serverapp", "superexec-serverapp"),
    ],
)
def test_a_fleet_runs_the_commands_of_the_compose_file(workload: str, service: str) -> None:
    [container] = find_workload(read_rendered("superlink"), workload).containers
    assert container["command"] == read_compose("compose.superlink.yml")["services"][service]["command"]


def test_the_key_of_a_site_is_not_mounted_for_its_client_apps() -> None:
    for number in (1, 2):
        workload = find_workload(read_rendered("superlink"), f"Deployment/supernode-{number}")
        supernode, client_app = workload.containers
        assert {mount["name"] for mount in supernode["volumeMounts"]} == {"key", "tmp-of-supernode"}
        assert {mount["name"] for mount in client_app["volumeMounts"]} == {"secret", "tmp"}
        [item] = workload.volumes["secret"]["secret"]["items"]
        assert item["key"] == "superexec.secret"


def test_a_run_is_not_repeated_after_an_exit_code_that_would_come_again() -> None:
    job = find_workload(read_rendered("local"), "Job/server").facts["spec"]
    ignored, failed = job["podFailurePolicy"]["rules"]
    assert failed["action"] == "FailJob"
    errors = (SettingsError, TooFewNodesError, TrainingFailedError)
    assert failed["onExitCodes"]["values"] == [error.exit_code for error in errors]
    # An eviction is no failure, whatever the exit code: this rule comes first.
    assert (ignored["action"], ignored["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in job


def test_a_users_kustomization_sets_namespace_images_settings_and_secrets() -> None:
    objects = render(USERS_OVERLAY)
    assert {each["metadata"]["namespace"] for each in objects} == {"fl"}
    server = find_workload(objects, "Job/server")
    assert server.containers[0]["image"] == "registry.example.org/fedmx-server:1"
    variables = read_environment(objects, server.containers[0])
    assert (variables["NUM_ROUNDS"], variables["PARTITION"]) == ("20", "none")
    secrets = {each["metadata"]["name"] for each in objects if each["kind"] == "Secret"}
    assert server.volumes["certificate"]["secret"]["secretName"] in secrets
    client = find_workload(objects, "Deployment/client-hospital-a")
    assert client.containers[0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert read_environment(objects, client.containers[0])["DEVICE"] == "gpu"
