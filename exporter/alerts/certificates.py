"""Alerts of certificates that services present."""

from __future__ import annotations

from exporter.alerts.model import Alert, Group, Options, Severity, Team
from exporter.alerts.promql import below, lowest
from exporter.alerts.texts import first

__all__ = ["groups"]

_KINDS = frozenset({"tls", "actuator", "oidc"})
_LIMIT = "probe_ssl_cert_validity_seconds_limit"
_KEPT = "The hour's window holds the fact while the endpoint is down."


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (Group("certificates", (expiring(options), expired(options))),)


def _left() -> str:
    return f"({lowest('probe_ssl_earliest_cert_expiry', '1h', 'target')} - time())"


def expiring(options: Options) -> Alert:
    """Build CertificateExpiring."""
    return Alert(
        name="CertificateExpiring",
        severity=Severity.WARNING,
        expr=below(f"({_left()} >= 0)", _LIMIT, options),
        wait="5m",
        summary="The certificate of {{ $labels.service }} expires in {{ $value | humanizeDuration }}",
        description=(
            "A certificate served by {{ $labels.service }} at {{ $labels.target }} expires in "
            "{{ $value | humanizeDuration }}"
            + first(
                f"max(last_over_time({_LIMIT}{{service=%q}}[{options.recent}]))",
                "$labels.service",
                ", less than {{ .Value | humanizeDuration }}",
            )
            + ". One that was renewed on disk and not loaded counts as the old one, since that is served."
        ),
        action="Renew certificates",
        panel=50,
        meaning="a served certificate has less time left than its threshold",
        team=Team.SECOPS,
        comment=f"{_KEPT} One that has expired is the next rule's, so that nothing stops in between.",
        kinds=_KINDS,
    )


def expired(_options: Options) -> Alert:
    """Build CertificateExpired."""
    return Alert(
        name="CertificateExpired",
        severity=Severity.CRITICAL,
        expr=f"{_left()} < 0",
        wait="1m",
        summary="The certificate of {{ $labels.service }} has expired",
        description=(
            "A certificate served by {{ $labels.service }} at {{ $labels.target }} expired"
            + first(
                "time() - min(last_over_time(probe_ssl_earliest_cert_expiry{service=%q,target=%q}[1h]))",
                "$labels.service $labels.target",
                " {{ .Value | humanizeDuration }} ago",
            )
            + ": clients that check it refuse to connect."
        ),
        action="Renew certificates",
        panel=50,
        meaning="a served certificate has expired; in one page with ServiceDown where clients are refused",
        team=Team.SECOPS,
        comment=_KEPT,
        kinds=_KINDS,
    )
