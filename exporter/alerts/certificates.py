"""Alerts of certificates that services present."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Group, Options, Severity, Team
from exporter.alerts.promql import lowest, measured, over
from exporter.alerts.texts import first
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = ["groups"]

_KINDS = frozenset({"tls", "actuator", "oidc"})
_LIMIT = limits.CERTIFICATE.family.name
_KEPT = "The hour's window holds the fact while the endpoint is down."


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (Group("certificates", (expiring(options), expired(options), not_reloaded(options))),)


def expiring(options: Options) -> Alert:
    """Build CertificateExpiring."""
    return Alert(
        name=limits.CERTIFICATE.alert,
        severity=Severity.WARNING,
        expr=over(limits.CERTIFICATE, options, f"({measured(limits.CERTIFICATE.measure, options)} >= 0)"),
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
        action=limits.CERTIFICATE.action,
        panel=limits.CERTIFICATE.panel,
        meaning="a served certificate has less time left than its threshold",
        team=Team.SECOPS,
        comment=f"{_KEPT} One that has expired is the next rule's, so that nothing stops in between.",
        kinds=_KINDS,
    )


def expired(options: Options) -> Alert:
    """Build CertificateExpired."""
    return Alert(
        name=limits.CERTIFICATE.spent,
        severity=Severity.CRITICAL,
        expr=f"{measured(limits.CERTIFICATE.measure, options)} < 0",
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
        action=limits.CERTIFICATE.action,
        panel=limits.CERTIFICATE.panel,
        meaning="a served certificate has expired; in one page with ServiceDown where clients are refused",
        team=Team.SECOPS,
        comment=_KEPT,
        kinds=_KINDS,
    )


def not_reloaded(options: Options) -> Alert:
    """Build CertificateNotReloaded."""
    ends = f"max(last_over_time(probe_tls_secret_not_after_timestamp_seconds{{service=%q,secret=%q}}[{options.bridge}]))"
    return Alert(
        name="CertificateNotReloaded",
        severity=Severity.WARNING,
        expr=f"{lowest('probe_tls_secret_served', options.recent, 'target', 'secret')} == 0",
        wait="15m",
        summary="{{ $labels.service }} does not serve the certificate of its Secret {{ $labels.secret }}",
        description=(
            "For 15m {{ $labels.service }} at {{ $labels.target }} has served another certificate than the one in Secret "
            "{{ $labels.secret }}"
            + first(
                f"{ends} - time()", "$labels.service $labels.secret",
                ", which holds for {{ .Value | humanizeDuration }} more",
            )
            + ": it was renewed, and what serves it has not loaded it."
        ),
        action="Reload or restart what serves it: kubectl rollout restart",
        panel=Panel(Board.CERTIFICATES, 52),
        meaning="for 15 min what is served is not the certificate of its Secret: renewed and not reloaded",
        team=Team.SECOPS,
        comment="A kubelet takes a minute or two to bring a renewed Secret into a volume.",
        disables=(Disable("promql/series(probe_tls_secret_served)", "no Secret is configured"),),
        kinds=frozenset({"tls"}),
    )  # fmt: skip
