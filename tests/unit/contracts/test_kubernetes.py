"""The Helm chart fits the code.

Helm is not at hand in tests: what it renders from three files of values lies in ops/kubernetes/rendered, with a digest
of what it was rendered from. `make kubernetes` renders it again, and checks it against the schemas.
"""

import inspect
import json
import re
from typing import Any

import pytest
import yaml

from ops.kubernetes.digest import compute_digest
from pipeline import process
from pipeline.config import Settings, list_variables, load_settings
from pipeline.core.network.addresses import is_public
from pipeline.gateway.server import API_PATH, SHUTDOWN_TIMEOUT_S
from tests.unit.contracts.charts import FOLDER, NAMES, find, list_pods, list_secrets, read_environment, read_resources
from tests.unit.contracts.metrics import find_problems, list_series
from tests.unit.contracts.processes import PROCESSES, find_command, read_process_name
from tests.unit.contracts.repository import ROOT

RENDERED = {name: read_resources(name) for name in NAMES}
DEPLOYMENTS = {name: find(resources, "Deployment") for name, resources in RENDERED.items()}
DEFAULTS = yaml.safe_load((FOLDER / "hookline/values.yaml").read_text())
SCHEMA = json.loads((FOLDER / "hookline/values.schema.json").read_text())
WORKERS = tuple(name for name in PROCESSES if name != "gateway")
SCALED_KEYS = {
    *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "fallback", "advanced", "triggers")
}

charts = pytest.mark.parametrize("chart", NAMES)
processes = pytest.mark.parametrize("name", PROCESSES)


@charts
def test_it_was_rendered_from_the_chart_that_is_here(chart: str) -> None:
    """A change of the chart or the values needs `make kubernetes`."""
    first_line = (FOLDER / f"rendered/{chart}.yaml").read_text().partition("\n")[0]

    assert first_line.endswith(compute_digest()), "run `ops/kubernetes/check --write`"


def test_every_file_of_values_is_rendered() -> None:
    """The folder has no other file."""
    assert sorted(path.stem for path in (FOLDER / "values").glob("*.yaml")) == NAMES
    assert 3 == len(NAMES)


def test_the_schema_knows_the_values_and_no_others() -> None:
    """A misspelled value is refused; one that has a default is allowed."""

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        if "properties" not in schema:
            return  # a map of the user's own: labels, settings
        assert set(values) == set(schema["properties"]) - {"global"}, path
        assert schema["additionalProperties"] is False, path
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][name], f"{path}.{name}")

    compare(DEFAULTS, SCHEMA, "values")


@charts
@processes
def test_a_process_is_a_deployment(chart: str, name: str) -> None:
    """A deployment runs the sub-command of its name; its pods are found by the label of its name."""
    found = DEPLOYMENTS[chart][name]
    (container,) = found["spec"]["template"]["spec"]["containers"]

    assert set(PROCESSES) == set(DEPLOYMENTS[chart])
    assert [name] == container["args"]
    assert name == read_process_name(find_command(name))
    assert name == found["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
    assert found["spec"]["selector"]["matchLabels"].items() <= found["spec"]["template"]["metadata"]["labels"].items()


@charts
def test_jobs_run_sub_commands_that_end(chart: str) -> None:
    """Jobs run before the processes, which refuse to start without topics and tables."""
    jobs = find(RENDERED[chart], "Job")

    assert {"topics", "migrate"} == set(jobs)
    for job in jobs.values():
        assert "pre-install,pre-upgrade" == job["metadata"]["annotations"]["helm.sh/hook"]
        assert None is read_process_name(find_command(*job["spec"]["template"]["spec"]["containers"][0]["args"]))


@charts
def test_settings_are_settings(chart: str) -> None:
    """Known by name, within their bounds: every process would start with them; all agree on the partitions."""
    for name, pod in list_pods(RENDERED[chart]):
        if name == "send-event":
            continue
        environment = read_environment(pod)

        unknown = set(environment) - set(list_variables())
        assert set() == {variable for variable in unknown if not variable.startswith("OTEL_")}
        settings = load_settings(environment)
        if name in PROCESSES:
            assert ("0.0.0.0", 9100) == (settings.process.metrics_host, settings.process.metrics_port)


@charts
def test_nobody_is_given_secrets_it_does_not_need(chart: str) -> None:
    """Secrets are given by reference, to the processes that use them."""
    kafka = {"HOOKLINE_KAFKA_PASSWORD"} if chart == "managed" else set()
    replicas = {"HOOKLINE_DATABASE_READ_URLS"} if chart == "managed" else set()
    database, sealing = {"HOOKLINE_DATABASE_WRITE_URL"}, {"HOOKLINE_SEALING_KEYS"}

    assert {name: list_secrets(pod) for name, pod in list_pods(RENDERED[chart])} == {
        "gateway": kafka | database | replicas | sealing | {"HOOKLINE_GATEWAY_MASTER_API_KEY"},
        "matcher": kafka,
        "deliver": kafka | sealing,
        "archive": kafka | database,
        "topics": kafka,
        "migrate": database,
        "send-event": {"HELM_TEST_MASTER_KEY"},
    }


@charts
@processes
def test_probes_ask_what_is_served(chart: str, name: str) -> None:
    """Paths of the code, at the port it serves them on; a process that is not ready is not restarted for it."""
    (container,) = DEPLOYMENTS[chart][name]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    served = set(re.findall(r"add_get\(\"([^\"]+)\"", inspect.getsource(process)))
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}

    assert {get["path"] for get in asked.values()} <= served
    assert {"metrics"} == {get["port"] for get in asked.values()}
    assert ports == {"metrics": 9100} | ({"http": 8080} if name == "gateway" else {})
    assert ("/health/ready", "/health/live") == (asked["readiness"]["path"], asked["liveness"]["path"])


@charts
@processes
def test_a_process_may_finish_what_it_has_begun(chart: str, name: str) -> None:
    """Kubernetes waits longer before it kills than the process takes, and that longer than a request."""
    pod = DEPLOYMENTS[chart][name]["spec"]["template"]["spec"]
    settings = load_settings(read_environment(pod))
    grace_s = pod["terminationGracePeriodSeconds"]
    if name == "gateway":
        pre_stop_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        assert settings.process.stop_timeout_s > settings.gateway.drain_s + SHUTDOWN_TIMEOUT_S
        assert grace_s > pre_stop_s + settings.process.stop_timeout_s
    else:
        process_s = max(settings.process.stop_timeout_s, settings.worker.shutdown_grace_s + process.STOP_SLACK_S)
        assert grace_s > process_s
        assert settings.worker.shutdown_grace_s > settings.deliver.total_timeout_s


@charts
def test_pods_may_do_little(chart: str) -> None:
    """Pods fulfil the standard *restricted*, and are read-only; no token of the cluster, no variables of services."""
    for name, pod in list_pods(RENDERED[chart]):
        (container,) = pod["containers"]
        security = container["securityContext"]

        assert (True, 10001) == (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]), name
        assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"], name
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert (False, False) == (pod["enableServiceLinks"], pod["automountServiceAccountToken"]), name
        assert {"requests", "limits"} == set(container["resources"]), name


def test_the_user_is_the_image_s() -> None:
    """A number, so that Kubernetes can see that it is not root."""
    assert "USER 10001:10001" in (ROOT / "ops/docker/Dockerfile").read_text()


@processes
def test_sizes_are_as_promised(name: str) -> None:
    """2 Gi and a core asked for, 4 Gi and two at most; five gateways, ten deliver."""
    (container,) = DEPLOYMENTS["production"][name]["spec"]["template"]["spec"]["containers"]

    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    assert (5, 10) == (DEFAULTS["gateway"]["replicas"], DEFAULTS["deliver"]["replicas"])


def test_gateways_scale_on_processor_and_memory() -> None:
    """2 to 20, at 70 % and 80 %."""
    (scaler,) = find(RENDERED["production"], "HorizontalPodAutoscaler").values()
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in scaler["spec"]["metrics"]
    }

    assert (2, 20) == (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"])
    assert {"cpu": 70, "memory": 80} == targets


@pytest.mark.parametrize("name", WORKERS)
def test_workers_scale_on_runnable_lag(name: str) -> None:
    """Workers are at most one per partition, up at once, down slowly; as many as without an autoscaler if Prometheus is
    away.
    """
    spec = find(RENDERED["production"], "ScaledObject")[name]["spec"]
    settings = load_settings(read_environment(DEPLOYMENTS["production"][name]["spec"]["template"]["spec"]))
    (trigger,) = spec["triggers"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]

    # npm's definitions let unknown members through
    assert SCALED_KEYS == set(spec)
    assert {"serverAddress", "query", "threshold", "ignoreNullValues"} == set(trigger["metadata"])
    assert settings.kafka.partitions == spec["maxReplicaCount"]
    assert spec["fallback"]["replicas"] <= settings.kafka.partitions
    assert [] == find_problems(trigger["metadata"]["query"].replace(", namespace=", ", instance="), list_series())
    assert f'hookline_runnable_lag_records{{job="{name}"' in trigger["metadata"]["query"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] < behavior["scaleDown"]["stabilizationWindowSeconds"]
    assert [{"type": "Pods", "value": 1, "periodSeconds": 120}] == behavior["scaleDown"]["policies"]


@charts
@processes
def test_a_process_finds_what_a_killed_one_left(chart: str, name: str) -> None:
    """The run directory is in a volume of the pod, which outlives its container."""
    pod = DEPLOYMENTS[chart][name]["spec"]["template"]["spec"]
    run_dir = load_settings(read_environment(pod)).process.run_dir
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}

    assert "emptyDir" in volumes[mounts[str(run_dir)]]


@charts
@pytest.mark.parametrize("name", WORKERS)
def test_no_worker_is_without_a_partition(chart: str, name: str) -> None:
    """More of them than partitions would have no work."""
    found = DEPLOYMENTS[chart][name]["spec"]
    settings = load_settings(read_environment(found["template"]["spec"]))

    assert found["replicas"] <= settings.kafka.partitions
    assert 0 == found["strategy"]["rollingUpdate"]["maxSurge"]


@processes
def test_disruptions_and_nodes_are_shared_out(name: str) -> None:
    """Evictions one at a time; pods of a kind over zones and nodes."""
    budget = find(RENDERED["production"], "PodDisruptionBudget")[name]["spec"]
    spread = DEPLOYMENTS["production"][name]["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert 1 == budget["maxUnavailable"]
    assert DEPLOYMENTS["production"][name]["spec"]["selector"] == budget["selector"]
    assert ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] == [each["topologyKey"] for each in spread]


def test_deliver_alone_reaches_the_internet_and_no_private_network() -> None:
    """The others reach DNS, Kafka, those that use it PostgreSQL, and what the values name besides."""
    policies = {name: found["spec"] for name, found in find(RENDERED["production"], "NetworkPolicy").items()}
    ports = {
        name: sorted({port["port"] for rule in spec["egress"] for port in rule.get("ports", ())})
        for name, spec in policies.items()
    }
    blocks = [
        (name, peer["ipBlock"])
        for name, spec in policies.items()
        for rule in spec["egress"]
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]

    assert {
        # the mail server, an OpenID provider; 4318 is a collector of spans, for every process that runs
        "gateway": [53, 443, 587, 4318, 5432, 9092],
        "matcher": [53, 4318, 9092],
        "deliver": [53, 4318, 9092],
        "archive": [53, 4318, 5432, 9092],
        "topics": [53, 9092],
        "migrate": [53, 5432],
    } == ports
    assert ["0.0.0.0/0", "::/0"] == [block["cidr"] for name, block in blocks if name == "deliver"]
    assert ["192.0.2.25/32", "198.51.100.0/24"] == [block["cidr"] for name, block in blocks if name == "gateway"]
    assert {"deliver", "gateway"} == {name for name, _ in blocks}
    for block in (block for name, block in blocks if name == "deliver"):
        assert [] == [network for network in block["except"] if is_public(network.partition("/")[0])]


def test_metrics_are_read_under_the_names_that_rules_ask_for() -> None:
    """The job is the process, every process is read; rules are rendered by `make kubernetes`, from ops/prometheus."""
    (monitor,) = find(RENDERED["production"], "PodMonitor").values()

    assert "app.kubernetes.io/component" == monitor["spec"]["jobLabel"]
    assert list(PROCESSES) == monitor["spec"]["selector"]["matchExpressions"][0]["values"]
    assert [("metrics", "/metrics")] == [
        (each["port"], each["path"]) for each in monitor["spec"]["podMetricsEndpoints"]
    ]
    for file in ("rules.yml", "alerts.yml"):
        assert (FOLDER / "hookline/files" / file).resolve() == ROOT / "ops/prometheus" / file


def test_figures_can_have_another_name() -> None:
    """Another name applies in the processes and in what scales them."""
    pod = DEPLOYMENTS["managed"]["deliver"]["spec"]["template"]["spec"]

    assert "hook0" == load_settings(read_environment(pod)).metrics.namespace


def test_the_way_to_the_api_leads_to_gateways() -> None:
    """Ingress, Service, port and path; no affinity: each can do everything."""
    (ingress,) = find(RENDERED["production"], "Ingress").values()
    service = find(RENDERED["production"], "Service")["gateway"]["spec"]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]

    assert API_PATH == path["path"]
    assert "hookline-gateway" == path["backend"]["service"]["name"]
    assert ("http", "None") == (service["ports"][0]["targetPort"], service["sessionAffinity"])
    assert DEPLOYMENTS["production"]["gateway"]["spec"]["selector"]["matchLabels"] == service["selector"]


def test_the_chart_says_what_the_code_would() -> None:
    """Defaults that stand in the chart as well are the code's; its version is the image's."""
    settings = Settings()
    helpers = (FOLDER / "hookline/templates/_helpers.tpl").read_text()
    (grace_s,) = set(re.findall(r"HOOKLINE_WORKER_SHUTDOWN_GRACE_S\" (\d+)", helpers))
    (timeout_s,) = set(re.findall(r"HOOKLINE_DELIVER_TOTAL_TIMEOUT_S\" (\d+)", helpers))
    version = re.search(r"^version = \"(.*)\"", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert (settings.worker.shutdown_grace_s, settings.deliver.total_timeout_s) == (float(grace_s), float(timeout_s))
    assert version is not None
    assert version[1] == yaml.safe_load((FOLDER / "hookline/Chart.yaml").read_text())["appVersion"]
