"""TLS contexts: shared while nothing has changed, made anew when a file has."""

from __future__ import annotations

from pathlib import Path

import trustme

from exporter.net.tls import TlsSettings, client_context


def test_equal_settings_share_a_context_until_a_file_changes(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    first = client_context(TlsSettings(ca_file=bundle))
    assert client_context(TlsSettings(ca_file=bundle)) is first
    assert client_context(TlsSettings(ca_file=bundle, verify=False)) is not first
    renewed = tmp_path / "renewed.pem"
    trustme.CA().cert_pem.write_to_path(renewed)
    renewed.rename(bundle)
    second = client_context(TlsSettings(ca_file=bundle))
    assert second is not first
    assert second.get_ca_certs() != first.get_ca_certs()
