"""The web configuration file, in the format that exporters share: exporter-toolkit's.

A file in use elsewhere can be used here. What it cannot mean here is an error, never ignored: Python's TLS cannot ask for a
certificate without verifying it, and speaks nothing below TLS 1.2. What is read and makes no difference is told as a note.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from exporter.config.document import Document, Location, parse_document, read_text
from exporter.config.errors import ConfigError, Problem
from exporter.config.messages import message_of, unknown
from exporter.config.paths import HIDDEN
from exporter.values import Duration, Settings
from exporter.web.access.ciphers import CIPHERS, CURVES, TLS13_CIPHERS

__all__ = ["Headers", "HttpServer", "RateLimit", "TlsServer", "WebConfig", "notes", "parse", "read"]

_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")
_MOST_COST = 16
"""Of a bcrypt hash: beyond it, one login takes seconds of a core."""


def _known_cipher(name: str) -> str:
    if name not in CIPHERS and name not in TLS13_CIPHERS:
        raise ValueError(f"is not a cipher suite that is served; known: {', '.join(CIPHERS)}")
    return name


def _known_curve(name: str) -> str:
    if name not in CURVES:
        raise ValueError(f"is not a curve; known: {', '.join(CURVES)}")
    return name


def _bcrypt_hash(value: SecretStr) -> SecretStr:
    found = _BCRYPT.fullmatch(value.get_secret_value())
    if found is None:
        raise ValueError("expected a bcrypt hash, as of `htpasswd -nBC 10 NAME`; a password itself is never written here")
    if not 4 <= int(found[1]) <= _MOST_COST:
        raise ValueError(f"has a cost that is not between 4 and {_MOST_COST}")
    return value


def _user(name: str) -> str:
    if not name or ":" in name:
        raise ValueError("expected a user name, without a colon")
    return name


def _version(value: str) -> str:
    if value in ("TLS10", "TLS11"):
        raise ValueError("is not served any more; expected TLS12 or TLS13")
    if value not in ("TLS12", "TLS13"):
        raise ValueError("expected TLS12 or TLS13")
    return value


Version = Annotated[str, AfterValidator(_version)]
Hash = Annotated[SecretStr, AfterValidator(_bcrypt_hash)]
ClientAuth = Literal[
    "",
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "RequireClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]


class TlsServer(Settings):
    """`tls_server_config`: TLS as a server."""

    cert: str | None = Field(None, description="PEM certificate chain, in place of cert_file.")
    key: SecretStr | None = Field(None, description="PEM key, in place of key_file.")
    client_ca: str | None = Field(None, description="PEM certificates, in place of client_ca_file.")
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_auth_type: ClientAuth = "NoClientCert"
    client_allowed_sans: tuple[str, ...] | None = None
    cipher_suites: tuple[Annotated[str, AfterValidator(_known_cipher)], ...] = ()
    curve_preferences: tuple[Annotated[str, AfterValidator(_known_curve)], ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    prefer_server_cipher_suites: bool = True

    @model_validator(mode="after")
    def _is_whole(self) -> TlsServer:
        for one, other in (("cert", "cert_file"), ("key", "key_file")):
            if not getattr(self, one) and getattr(self, other) is None:
                raise ValueError(f"{one} or {other} is required")
            if getattr(self, one) and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} are both given")
        if self.client_ca and self.client_ca_file is not None:
            raise ValueError("client_ca and client_ca_file are both given")
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version")
        return self

    @model_validator(mode="after")
    def _asks_for_what_it_can_check(self) -> TlsServer:
        if self.client_auth_type in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"):
            raise ValueError(
                f"client_auth_type {self.client_auth_type} lets in certificates that nobody has verified; "
                "expected RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
            )
        has_ca = bool(self.client_ca) or self.client_ca_file is not None
        if has_ca and not self.verifies:
            raise ValueError("client CAs are given, and no client_auth_type that verifies by them")
        if self.verifies and not has_ca:
            raise ValueError(f"client_auth_type {self.client_auth_type} needs client_ca or client_ca_file")
        if self.client_allowed_sans is not None and not self.requires:
            raise ValueError("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
        if self.cipher_suites and not self.openssl_ciphers and self.min_version == "TLS12":
            raise ValueError("cipher_suites leaves none for TLS 1.2; set min_version to TLS13")
        return self

    @property
    def verifies(self) -> bool:
        """Whether a client's certificate is verified."""
        return self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")

    @property
    def requires(self) -> bool:
        """Whether a client must have one."""
        return self.client_auth_type == "RequireAndVerifyClientCert"

    @property
    def openssl_ciphers(self) -> str:
        """What is offered for TLS up to 1.2, in OpenSSL's words; empty for its own choice."""
        return ":".join(CIPHERS[name] for name in self.cipher_suites if name in CIPHERS)

    def beside(self, folder: Path) -> TlsServer:
        """Return the same with paths taken from a folder."""
        paths = {name: getattr(self, name) for name in ("cert_file", "key_file", "client_ca_file")}
        return self.model_copy(update={name: folder / path for name, path in paths.items() if path is not None})

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None)


class Headers(Settings):
    """`headers`: of every answer, in place of the exporter's own, which are strict."""

    content_security_policy: str = Field("", alias="Content-Security-Policy")
    x_frame_options: Literal["", "deny", "sameorigin"] = Field("", alias="X-Frame-Options")
    x_content_type_options: Literal["", "nosniff"] = Field("", alias="X-Content-Type-Options")
    x_xss_protection: str = Field("", alias="X-XSS-Protection")
    strict_transport_security: str = Field("", alias="Strict-Transport-Security")

    @model_validator(mode="after")
    def _fit_into_a_line(self) -> Headers:
        if any(not value.isprintable() or not value.isascii() for value in self.set.values()):
            raise ValueError("a header's value has a character that headers cannot have")
        return self

    @property
    def set(self) -> Mapping[str, str]:
        """Name and value of those that are given."""
        return {name: value for name, value in self.model_dump(by_alias=True).items() if value}


class HttpServer(Settings):
    """`http_server_config`."""

    http2: bool = True
    headers: Headers = Headers()


class RateLimit(Settings):
    """`rate_limit`: a token bucket over all requests."""

    interval: Duration | Literal[0, "0", "0s"] = 0
    burst: int = Field(0, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _lets_some_through(self) -> RateLimit:
        if self.seconds and not self.burst:
            raise ValueError("burst is required, and at least 1: with 0 no request would be answered")
        return self

    @property
    def seconds(self) -> float:
        """Seconds between two requests; 0 where requests are not limited."""
        return self.interval if isinstance(self.interval, float) else 0.0


class WebConfig(Settings):
    """A web configuration file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[Annotated[str, AfterValidator(_user)], Hash] = Field(default_factory=dict)
    rate_limit: RateLimit = RateLimit()

    @property
    def authenticates(self) -> bool:
        """Whether it is known who asks."""
        tls = self.tls_server_config
        return bool(self.basic_auth_users) or (tls is not None and tls.requires)


def read(path: Path) -> WebConfig:
    """Read a file. Blocking.

    Raises:
        ConfigError: With every problem found; no message repeats what the file holds.
    """
    return parse(read_text(path), str(path), path.parent)


def parse(text: str, name: str, folder: Path) -> WebConfig:
    """Parse a file's text; see `read`.

    Args:
        text: YAML.
        name: What problems call the file.
        folder: What paths in it are relative to.
    """
    if not _without_comments(text):
        return WebConfig()
    document = parse_document(text, name, {})
    if document.value is None:
        return WebConfig()
    found = [Problem(name, *fault.place, _dotted(fault.location), fault.message) for fault in document.faults]
    if not isinstance(document.value, dict):
        raise ConfigError([*found, Problem(name, 1, 1, "", "expected a mapping")])
    try:
        config = WebConfig.model_validate({key: value for key, value in document.value.items() if value is not None})
    except ValidationError as error:
        found += [_problem(document, item) for item in error.errors(include_url=False)]
        raise ConfigError(found) from None
    if found:
        raise ConfigError(found)
    tls = config.tls_server_config
    return config if tls is None else config.model_copy(update={"tls_server_config": tls.beside(folder)})


def notes(config: WebConfig) -> Iterator[str]:
    """Say what a file asks for that makes no difference here."""
    tls = config.tls_server_config
    if tls is not None and len(tls.curve_preferences) > 1:
        yield "curve_preferences: several cannot be set here: OpenSSL's own choice is served"
    if tls is not None and config.http_server_config.http2 and "http2" in config.http_server_config.model_fields_set:
        yield "http2: HTTP/1.1 is served; Prometheus and browsers speak it too"
    if config.basic_auth_users and tls is None:
        yield "basic_auth_users without tls_server_config: passwords come over the network in the clear"


def _without_comments(text: str) -> str:
    return "".join(line.partition("#")[0].strip() for line in text.splitlines() if line.strip() not in ("---", "..."))


def _problem(document: Document, error: ErrorDetails) -> Problem:
    location = tuple(item for item in error["loc"] if item != "[key]")
    if error["type"] == "extra_forbidden":
        message = unknown(str(location[-1]), _keys(location[:-1]))
    else:
        message = message_of(error, location)
    return Problem(document.file, *document.place(location), _dotted(location), message)


def _dotted(location: Location) -> str:
    """Write a path as people do; keys that the format does not know may be secrets in the wrong place."""
    shown = [str(item) if isinstance(item, int) or item in _KEYS else HIDDEN for item in location]
    return ".".join(shown)


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a mapping of the format may have."""
    model: Any = WebConfig
    for name in location:
        field = {item.alias or key: item for key, item in model.model_fields.items()}[str(name)]
        model = next(each for each in (field.annotation, *get_args(field.annotation)) if _is_model(each))
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_model(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


_KEYS = frozenset(
    item.alias or name
    for model in (WebConfig, TlsServer, HttpServer, Headers, RateLimit)
    for name, item in model.model_fields.items()
)
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
