"""The Certificates dashboard: how long they last, whether they verify, and the identity provider."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.limits import limit
from exporter.dashboards.palette import GOOD, WARN
from exporter.dashboards.panels import Columns, Panels, Query, Scale, Size, graph, states, table
from exporter.dashboards.promql import of
from exporter.dashboards.queries import CERTIFICATE_DUE, CERTIFICATE_LEFT, lowest
from exporter.metrics import limits

__all__ = ["board", "certificates"]

_DUE, _LASTS = "To be renewed", "Lasts"


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.CERTIFICATES,
        "certificates and identity",
        "How long served certificates last and whether they verify; whether tokens are issued, and how fast.",
        (Row(105, "Certificates", (*_list(), *certificates())), Row(390, "Identity provider", _identity())),
        kinds=frozenset({"tls", "oidc"}),
    )


def certificates() -> Panels:
    """How long they last, and whether they verify."""
    return (
        graph(
            50, "Time left", "Time until the first certificate of the served chain expires; below zero it has expired.", "s",
            Query(CERTIFICATE_LEFT, "{{service}} {{target}}"), limit(limits.CERTIFICATE), negative=True,
        ),
        states(
            51, "Verified", "Whether the served chain verifies for the name.",
            lowest("probe_tls_verified", "service", "target"),
            texts=("Not verified", "Verified"), size=Size.THIRD,
        ),
        states(
            52, "As in its Secret", "Whether the served certificate is the one in its Kubernetes Secret.",
            lowest("probe_tls_secret_served", "service", "target", "secret"),
            texts=("Not reloaded", "Served"), size=Size.THIRD,
        ),
    )  # fmt: skip


def _list() -> Panels:
    judged = " or on (service, target) ".join(
        f'label_replace({expr}, "state", "{word}", "", "")'
        for expr, word in ((CERTIFICATE_DUE, _DUE), (CERTIFICATE_LEFT, _LASTS))
    )
    return (
        table(
            345, "Certificates by what is left", "Time until the first certificate of each served chain expires, and below "
            "zero since when it has; to be renewed is what has less left than the configuration wants.", "dtdurations",
            Query(f"sort({judged})", "{{service}} {{target}} {{state}}"),
            columns=Columns(
                ("service", "target", "state"), "left", scale=Scale(bad=0, falling=True, good=False),
                state="state", words={_DUE: WARN, _LASTS: GOOD},
            ),
            size=Size.HALF,
        ),
        graph(
            346, "Age of the served certificates", "Time since each became valid: it drops at a renewal.", "s",
            Query(
                f"time() - max by (service, target) ({of('probe_tls_not_before_timestamp_seconds')})",
                "{{service}} {{target}}",
            ),
            size=Size.HALF,
        ),
    )  # fmt: skip


def _identity() -> Panels:
    return (
        states(
            347, "Steps of a login", "Whether each step worked: discovery, keys, a token, and what else is configured.",
            lowest("probe_oidc_step_up", "service", "target", "step"),
            texts=("Failed", "Works"), size=Size.HALF,
        ),
        graph(
            348, "Time of each step", "How long each step of a login took.", "s",
            Query(f"max by (service, target, step) ({of('probe_oidc_step_seconds')})", "{{service}} {{target}} {{step}}"),
            size=Size.HALF,
        ),
        graph(
            349, "Signing keys", "Keys that the provider publishes for its signatures.", "short",
            lowest("probe_oidc_signing_keys", "service", "target"),
        ),
        graph(
            350, "Lifetime of tokens", "How long a token that was issued lasts.", "s",
            lowest("probe_oidc_token_lifetime_seconds", "service", "target"),
        ),
        states(
            351, "Key of the token", "Whether the key that signed the token is among those that are published.",
            lowest("probe_oidc_token_key_published", "service", "target"),
            texts=("Not published", "Published"), size=Size.THIRD,
        ),
    )  # fmt: skip
