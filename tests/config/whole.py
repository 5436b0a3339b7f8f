"""A configuration that uses every kind of probe and has every secret that one can have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from exporter.config.document import Location
from exporter.config.models import Config
from exporter.probes import probe_types

__all__ = ["WHOLE", "at", "paths", "secret_fields", "with_value"]

WHOLE: dict[str, Any] = {
    "server": {"listen": "127.0.0.1:9818", "drain_timeout": "10s"},
    "links": {"runbook": "https://runbooks.example/runbook.md", "dashboard": "https://grafana.example/d/hafnium-fleet"},
    "limits": {"max_in_flight": 256},
    "kubernetes": {"kubeconfig": "/etc/kubeconfig", "context": "hafnium", "namespace": "hafnium"},
    "defaults": {
        "interval": "15s",
        "timeout": "5s",
        "confirm": {"failures": 2},
        "probes": {
            "actuator": {"scheme": "https", "headers": {"X-Tenant": "one"}, "labels": {"tier": "backend"}},
            "redis": {"user": "prober", "password": "secret"},
        },
    },
    "dependencies": {
        "database": {
            "instances": ["db:5432"],
            "probes": {"postgres": {"user": "prober", "password": "secret", "database": "hafnium", "tls": {}}},
        },
        "cache": {"instances": ["cache:6379"], "probes": {"redis": {"password": "secret"}}},
        "broker": {
            "instances": ["broker:9092"],
            "probes": {
                "kafka": {
                    "security": {"protocol": "SASL_SSL", "user": "prober", "password": "secret"},
                    "groups": {"include": [".*"]},
                }
            },
        },
        "keycloak": {
            "instances": ["keycloak:8443"],
            "probes": {
                "tls": {"server_name": "keycloak", "ca_file": "/etc/ca.pem"},
                "oidc": {
                    "issuer_path": "/realms/hafnium",
                    "issuer": "https://keycloak:8443/realms/hafnium",
                    "client": {"client_id": "prober", "client_secret": "secret", "scopes": ["openid"]},
                },
            },
        },
        "cluster": {
            "instances": ["api:443"],
            "probes": {"kubernetes": {"namespace": "hafnium", "selector": "tier=backend"}},
        },
    },
    "services": {
        "identity": {
            "instances": {"dns": "identity.hafnium.svc", "port": 8081, "refresh": "15s"},
            "labels": {"tier": "backend"},
            "min_ready": 2,
            "depends_on": ["database", "cache"],
            "probes": {
                "actuator": {
                    "auth": {
                        "oauth2": {
                            "token_url": "https://keycloak:8443/token",
                            "client_id": "prober",
                            "client_secret": "secret",
                            "client_auth": "post",
                        }
                    },
                    "main": {"port": 8080, "paths": ["/livez"]},
                    "groups": ["readiness"],
                    "down_statuses": ["DOWN"],
                }
            },
        },
        "portal": {
            "instances": {
                "kubernetes": {
                    "selector": "app=portal-service,tier in (backend)",
                    "port": "management",
                    "source": "pods",
                    "labels": ["node", "zone"],
                }
            },
            "min_ready": "50%",
            "probes": {"actuator": {}, "kubernetes": {}},
        },
        "case": {"instances": ["case:8084"], "probes": {"actuator": {"auth": {"bearer": {"token": "secret"}}}}},
        "vault": {
            "instances": ["vault:8085", "[::1]:8085"],
            "probes": {"actuator": {"auth": {"basic": {"username": "prober", "password": "secret"}}, "metrics": False}},
        },
    },
}


def paths(value: Any = WHOLE, above: Location = ()) -> Iterator[Location]:
    """Yield the path of everything in a value, of the value itself first."""
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*above, key))


def at(location: Location, value: Any = WHOLE) -> Any:
    """Return what is at a path."""
    for item in location:
        value = value[item]
    return value


def with_value(location: Location, new: Any, value: Any = WHOLE) -> Any:
    """Return a copy with something else at a path."""
    if not location:
        return new
    head, rest = location[0], location[1:]
    if isinstance(value, list):
        return [with_value(rest, new, item) if index == head else item for index, item in enumerate(value)]
    return {key: with_value(rest, new, item) if key == head else item for key, item in value.items()}


def secret_fields() -> set[tuple[str, str]]:
    """Return the secrets that the models know, as (name of the model, name of the field)."""
    found: set[tuple[str, str]] = set()
    waiting: list[Any] = [Config, *(probe.settings_type for probe in probe_types().values())]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                inner = list(_inside(field.annotation))
                if SecretStr in inner:
                    found.add((kind.__name__, name))
                waiting += [item for item in inner if isinstance(item, type) and issubclass(item, BaseModel)]
    return found


def _inside(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)
