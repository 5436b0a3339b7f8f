"""A namespace of a cluster: which workloads show an actuator, where, and what their environment says that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.ports import free_port
from exporter.scaffold.cluster import read_cluster
from exporter.scaffold.draft import Draft, Unusable
from exporter.scaffold.text import checked, written
from tests.scaffold.applications import application

APPS = "/apis/apps/v1/namespaces/hafnium"
ENVIRONMENT = {
    "SPRING_DATASOURCE_URL": "jdbc:postgresql://postgres:5432/hafnium?ssl=false",
    "SPRING_DATA_REDIS_HOST": "redis",
    "SPRING_KAFKA_BOOTSTRAP_SERVERS": "kafka-0.kafka:9092,kafka-1.kafka:9092",
    "SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_ISSUER_URI": "https://id.example/realms/hafnium",
    "SPRING_DATASOURCE_PASSWORD": "hunter2",
}


def workload(name: str, container: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    variables = [{"name": key, "value": value} for key, value in (environment or {}).items()]
    variables.append({"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}})  # type: ignore[dict-item]
    spec = {"containers": [{"name": "app", "env": variables, **container}]}
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"spec": spec}},
    }


def kubeconfig(folder: Path, port: int, namespace: str = "hafnium") -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return path


async def read(folder: Path, deployments: list[dict[str, Any]], sets: list[dict[str, Any]] | None = None) -> Draft:
    answers = {f"{APPS}/deployments": {"items": deployments}, f"{APPS}/statefulsets": {"items": sets or []}}
    async with application(answers) as port:
        draft = await read_cluster(kubeconfig(folder, port), None, None, "tier=backend")
    draft.connect()
    return draft


async def test_workloads_and_what_they_need(tmp_path: Path) -> None:
    probed = {"readinessProbe": {"httpGet": {"path": "/manage/health/readiness", "port": "http"}}}
    named = {"ports": [{"name": "http", "containerPort": 8080}, {"name": "management", "containerPort": 9001}]}
    draft = await read(
        tmp_path,
        [
            workload("case-service", probed, ENVIRONMENT),
            workload("vault-service", named, ENVIRONMENT),
            workload("nginx", {}),
        ],
        [workload("signals", {"livenessProbe": {"httpGet": {"path": "/actuator/health", "port": 8081}}})],
    )
    text = written(draft, "exporter.yml", listen="0.0.0.0:9818")
    config = checked(text, "exporter.yml")
    assert list(config.services) == ["case", "vault", "signals"]
    assert "nginx is left out" in text
    assert "hunter2" not in text
    case, vault, signals = (config.services[name] for name in ("case", "vault", "signals"))
    places = [each.instances.kubernetes for each in (case, vault, signals)]
    assert [(each.selector, each.port, each.namespace) for each in places if each is not None] == [
        ("app=case-service", "http", "hafnium"),
        ("app=vault-service", "management", "hafnium"),
        ("app=signals", 8081, "hafnium"),
    ]
    assert case.probe_settings["actuator"].model_dump()["base_path"] == "/manage"
    assert case.depends_on == vault.depends_on == ("postgres", "redis", "kafka", "identity-provider")
    assert signals.depends_on == ()
    instances = {name: [str(each) for each in member.instances.static] for name, member in config.dependencies.items()}
    assert instances == {
        "postgres": ["postgres.hafnium.svc:5432"],
        "redis": ["redis.hafnium.svc:6379"],
        "kafka": ["kafka-0.kafka:9092", "kafka-1.kafka:9092"],
        "identity-provider": ["id.example:443"],
    }


async def test_nothing_that_shows_an_actuator_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="has 1 workload that tier=backend selects, and none shows an actuator"):
        await read(tmp_path, [workload("nginx", {})])


async def test_a_user_in_the_address_of_a_cluster_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, free_port())
    file.write_text(file.read_text().replace("http://", "http://admin:hunter2@"))
    with pytest.raises(Unusable, match="a user in its URL, which belongs under users") as raised:
        await read_cluster(file, None, None, None)
    assert "hunter2" not in str(raised.value)


async def test_a_cluster_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(Unusable, match=rf"kubeconfig, namespace hafnium: http://127.0.0.1:{port}: Connection refused"):
        await read_cluster(kubeconfig(tmp_path, port), None, None, None)
    with pytest.raises(Unusable, match="nowhere"):
        await read_cluster(kubeconfig(tmp_path, free_port()), "nowhere", None, None)
