"""OAuth2 client credentials on the wire: who asks for a token, how, and what the answer says (RFC 6749, 4.4 and 5)."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote_plus

from pydantic import AfterValidator, Field, SecretStr, model_validator
from yarl import URL

from exporter.auth.secrets import current_secret
from exporter.masking import remember
from exporter.net.http import Answer
from exporter.net.tls import TlsSettings
from exporter.values import Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "ClientSettings", "Grant", "OAuth2Settings", "TokenRequest", "http_url", "is_header_token", "json_object",
    "read_grant", "refusal",
]  # fmt: skip

MAX_TOKEN = 16_384
"""Characters of an access token; few servers take a longer header."""

MAX_WORDS = 100
"""Characters of a server's error description that are shown."""

_SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$"  # RFC 6749, 3.3
_SECRETS = re.compile(r"\b(\w*(?:secret|password|token|assertion))\b(\s*[=:]\s*)[^\s&;,]+", re.IGNORECASE)

_SERVER_ERRORS = frozenset({"server_error", "temporarily_unavailable"})
"""Error codes with which a server speaks of itself, not of the client."""


def http_url(text: str) -> str:
    """Check a configured URL.

    Raises:
        ValueError: It is not an http or https URL, or it carries credentials or a fragment.
    """
    try:
        url = URL(text)
        port = url.explicit_port
    except ValueError:
        url, port = URL(), None
    if url.scheme not in {"http", "https"} or not url.host or port == 0:
        raise ValueError("expected a URL such as https://keycloak:8443/realms/hafnium")
    if url.user is not None or url.password is not None or url.raw_fragment:
        raise ValueError("the URL must carry neither credentials nor a fragment")
    return text


class ClientSettings(Settings):
    """A client of an identity provider, which asks for tokens of its own."""

    client_id: str = Field(min_length=1, max_length=255, description="The client's name at the identity provider.")
    client_secret: SecretStr | None = Field(None, min_length=1, description="Its secret; masked wherever shown.")
    client_secret_file: Path | None = Field(None, description="File with its secret, read at each request for a token.")
    scopes: tuple[Annotated[str, Field(pattern=_SCOPE)], ...] = Field(
        (), max_length=50, description="Scopes to ask for; default: what the identity provider gives."
    )
    audience: str | None = Field(
        None, min_length=1, max_length=500, description="Audience to ask for, where the identity provider wants it named."
    )
    client_auth: Literal["basic", "post"] = Field(
        "basic", description="Where the secret goes: in an Authorization header (basic) or in the form (post)."
    )

    @model_validator(mode="after")
    def _one_secret(self) -> ClientSettings:
        if self.client_secret is not None and self.client_secret_file is not None:
            raise ValueError("give client_secret or client_secret_file, not both")
        if self.client_secret is None and self.client_secret_file is None:
            raise ValueError("client_id needs client_secret or client_secret_file")
        return self


class OAuth2Settings(ClientSettings):
    """A token by client credentials: where to ask for it, and as whom."""

    token_url: Annotated[str, AfterValidator(http_url)] = Field(
        max_length=2000,
        description="Token endpoint, such as https://keycloak:8443/realms/hafnium/protocol/openid-connect/token.",
    )
    allow_cleartext: bool = Field(
        default=False, description="Do not warn of a client secret that crosses a network over plain HTTP."
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="For https: roots, client certificate, name.")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token, ready to be sent.

    Attributes:
        form: Fields of the form.
        headers: Request headers.
        secret: The client's secret, to be masked in what the server answers.
    """

    form: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)

    @classmethod
    async def of(cls, client: ClientSettings) -> TokenRequest:
        """Make the request with the secret of this moment.

        Raises:
            Failure: The secret cannot be read: `credentials`.
        """
        secret = await current_secret(client.client_secret, client.client_secret_file, "client_secret_file") or ""
        form = {"grant_type": "client_credentials"}
        if client.scopes:
            form["scope"] = " ".join(client.scopes)
        if client.audience is not None:
            form["audience"] = client.audience
        headers = {"Accept": "application/json"}
        if client.client_auth == "post":
            form |= {"client_id": client.client_id, "client_secret": secret}
        else:  # each part form-urlencoded before the colon joins them: RFC 6749, 2.3.1
            pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}".encode()
            coded = b64encode(pair).decode()
            remember(coded)
            headers["Authorization"] = f"Basic {coded}"
        return cls(form, headers, secret)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token that was issued.

    Attributes:
        access_token: The token.
        expires_in: Seconds that it is said to last; None where that is not said, or is no time.
    """

    access_token: str = field(repr=False)
    expires_in: float | None


def read_grant(answer: Answer, request: TokenRequest) -> Grant:
    """Read the answer to a request for a token.

    Raises:
        Failure: No usable token. `auth` where the server refuses this client, or what it asks for; otherwise the server's
            side: `http_status`, `redirect`, `malformed`.
    """
    refused = refusal(answer)
    if refused is not None:
        raise _in_its_words(refused, answer, request)
    body = json_object(answer.body)
    token = body.get("access_token")
    if not isinstance(token, str) or not token:
        raise _malformed("the answer has no access_token")
    if len(token) > MAX_TOKEN or not is_header_token(token):
        raise _malformed("the access_token is not one that a header can carry")
    kind = body.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _malformed(f"token_type is {_words(kind, request) or 'missing'}, not Bearer")
    remember(token)
    return Grant(token, _seconds(body.get("expires_in")))


def is_header_token(token: str) -> bool:
    """Tell whether a token is visible ASCII, without a space: what may follow `Bearer `."""
    return token.isascii() and token.isprintable() and " " not in token and bool(token)


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object, however hostile; the caller bounds its length.

    Raises:
        Failure: It is none: `malformed`.
    """
    try:
        found = _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise _malformed("the JSON is nested too deeply") from None
    except ValueError:
        raise _malformed("the answer is not JSON" if body.strip() else "the answer is empty") from None
    if not isinstance(found, dict):
        raise _malformed("the JSON is not an object")
    return found


def refusal(answer: Answer) -> Failure | None:
    """Name what a status says that is not 2xx: `redirect`, `auth` for 401 and 403, `http_status` for the rest."""
    status = answer.status
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(Stage.CHECK, Reason.REDIRECT, f"HTTP {status}, and redirects are not followed")
    return Failure(Stage.CHECK, Reason.AUTH if status in {401, 403} else Reason.HTTP_STATUS, f"HTTP {status}")


def _in_its_words(refused: Failure, answer: Answer, request: TokenRequest) -> Failure:
    """Name a refusal by its error code, where there is one."""
    try:
        body = json_object(answer.body)
    except Failure:
        return refused
    code = body.get("error")
    if not isinstance(code, str) or not code or not 400 <= answer.status < 500:
        return refused
    described = _words(body.get("error_description"), request)
    detail = f"HTTP {answer.status}: {_words(code, request)}" + (f": {described}" if described else "")
    return Failure(Stage.AUTH, Reason.HTTP_STATUS if code in _SERVER_ERRORS else Reason.AUTH, detail)


def _words(value: object, request: TokenRequest) -> str:
    """Cut what a server says for people, with this client's secret masked, also where it is echoed in another shape."""
    if not isinstance(value, str):
        return ""
    text = value[: 100 * MAX_WORDS]
    blob = request.headers.get("Authorization", "").removeprefix("Basic ")
    for secret in (request.secret, quote_plus(request.secret), blob):
        if secret:
            text = text.replace(secret, "***")
    text = _SECRETS.sub(r"\1\2***", text)
    return "".join(c if c.isprintable() else " " for c in text[:MAX_WORDS])


def _seconds(value: object) -> float | None:
    """Read `expires_in`, which some servers write as text; None where it is no time in the future."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _malformed(detail: str) -> Failure:
    return Failure(Stage.CHECK, Reason.MALFORMED, detail)
