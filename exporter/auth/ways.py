"""Ways into an HTTP endpoint: basic, bearer, and OAuth2 client credentials; the tokens are for other protocols too."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from exporter.auth.oauth2 import OAuth2Settings, is_header_token
from exporter.auth.secrets import current_secret
from exporter.auth.tokens import Tokens
from exporter.masking import basic_pair
from exporter.values import Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = ["AuthSettings", "Authenticator", "BasicSettings", "BearerSettings"]

PATIENCE = 2.0
"""Seconds that a request waits for a token by default."""


class BasicSettings(Settings):
    """User name and password, RFC 7617."""

    username: str = Field(min_length=1, max_length=255, description="User name; it cannot have a colon.")
    password: SecretStr | None = Field(None, min_length=1, description="Password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with the password, read at each request.")

    @model_validator(mode="after")
    def _check(self) -> BasicSettings:
        if ":" in self.username or not self.username.isprintable():
            raise ValueError("username must have neither a colon nor control characters")
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        if self.password is None and self.password_file is None:
            raise ValueError("username needs password or password_file")
        if self.password is not None and not self.password.get_secret_value().isprintable():
            raise ValueError("password must not have control characters")
        return self


class BearerSettings(Settings):
    """A token that something else issues and rotates, RFC 6750."""

    token: SecretStr | None = Field(None, min_length=1, description="Token; masked wherever shown.")
    token_file: Path | None = Field(None, description="File with the token, read at each request.")

    @model_validator(mode="after")
    def _check(self) -> BearerSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        if self.token is None and self.token_file is None:
            raise ValueError("bearer needs token or token_file")
        if self.token is not None and not is_header_token(self.token.get_secret_value()):
            raise ValueError("token has characters that a header cannot carry")
        return self


class AuthSettings(Settings):
    """Credentials to send: exactly one way."""

    basic: BasicSettings | None = Field(None, description="User name and password.")
    bearer: BearerSettings | None = Field(None, description="A token from the configuration or from a file.")
    oauth2: OAuth2Settings | None = Field(None, description="A token by client credentials, fetched and renewed.")

    @model_validator(mode="after")
    def _one_way(self) -> AuthSettings:
        if sum(way is not None for way in (self.basic, self.bearer, self.oauth2)) != 1:
            raise ValueError("give exactly one of basic, bearer and oauth2")
        return self


class Authenticator:
    """The credentials of one probe.

    Args:
        settings: The way in; None where there is none.
        tokens: The process's tokens.

    Raises:
        OSError: A file of `oauth2.tls` cannot be read. Blocking: make it where probes are built.
    """

    def __init__(self, settings: AuthSettings | None, tokens: Tokens) -> None:
        self._basic = settings.basic if settings is not None else None
        self._bearer = settings.bearer if settings is not None else None
        oauth2 = settings.oauth2 if settings is not None else None
        self._source = tokens.source(oauth2) if oauth2 is not None else None
        self._sent: str | None = None
        self._refused: str | None = None

    async def headers(self, within: float = PATIENCE) -> dict[str, str]:
        """Return the headers to send: `Authorization`, or none.

        Args:
            within: Seconds to wait for a token, less than is left of the attempt: a deadline that struck in here would be
                held against the target.

        Raises:
            Failure: There are no credentials at the moment: `credentials`, unknown.
        """
        if self._basic is not None:
            return {"Authorization": f"Basic {await _basic_pair(self._basic)}"}
        token = await self.token(within)
        return {"Authorization": f"Bearer {token}"} if token is not None else {}

    async def token(self, within: float = PATIENCE) -> str | None:
        """Return the token to send, for what is no HTTP; None where the way in has none.

        Args:
            within: As `headers` has it.

        Raises:
            Failure: There is none at the moment: `credentials`, unknown.
        """
        if self._source is not None:
            self._sent = await self._source.token(within, other_than=self._refused)
            return self._sent
        return await _bearer_token(self._bearer) if self._bearer is not None else None

    def rejected(self) -> None:
        """Take note that the target refused what was sent (401): the next attempt asks for another token, once."""
        self._refused = self._sent


async def _bearer_token(settings: BearerSettings) -> str:
    token = (await current_secret(settings.token, settings.token_file, "token_file") or "").strip()
    if not is_header_token(token):
        raise _unusable("token_file", settings.token_file)
    return token


async def _basic_pair(settings: BasicSettings) -> str:
    password = await current_secret(settings.password, settings.password_file, "password_file") or ""
    if not password.isprintable():
        raise _unusable("password_file", settings.password_file)
    return basic_pair(settings.username, password)


def _unusable(key: str, file: Path | None) -> Failure:
    return Failure(Stage.AUTH, Reason.CREDENTIALS, f"{key} {file}: has characters that a header cannot carry")
