"""An identity provider that speaks OpenID Connect as a realm of Keycloak does: `python -m exporter.demo.keycloak`.

It publishes its configuration and its keys, and issues signed tokens to one client. People, sessions and logins it has none.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import signal
import time
import uuid
from base64 import b64decode, urlsafe_b64encode
from hmac import compare_digest
from pathlib import Path
from urllib.parse import unquote_plus

import click
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["CLIENT", "REALM", "Realm"]

REALM = "hafnium"
CLIENT = "hafnium-monitor"
LIFETIME = 300
"""Seconds that a token lasts."""


class Realm:
    """One realm with one client and one signing key.

    Args:
        url: Where the server is, without a path.
        secret: The client's.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.issuer = f"{url}/realms/{REALM}"
        self._secret = secret
        self._key = rsa.generate_private_key(65537, 2048)
        self._kid = uuid.uuid4().hex

    def application(self) -> web.Application:
        """Return what serves it."""
        base = f"/realms/{REALM}"
        app = web.Application()
        app.add_routes([
            web.get(f"{base}/.well-known/openid-configuration", self._configuration),
            web.get(f"{base}/protocol/openid-connect/certs", self._keys),
            web.post(f"{base}/protocol/openid-connect/token", self._token),
        ])  # fmt: skip
        return app

    async def _configuration(self, _: web.Request) -> web.Response:
        """OpenID Connect Discovery 1.0, 3."""
        endpoints = f"{self.issuer}/protocol/openid-connect"
        return web.json_response({
            "issuer": self.issuer,
            "authorization_endpoint": f"{endpoints}/auth",
            "token_endpoint": f"{endpoints}/token",
            "jwks_uri": f"{endpoints}/certs",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })  # fmt: skip

    async def _keys(self, _: web.Request) -> web.Response:
        """RFC 7517, 5."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kid": self._kid,
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return web.json_response({"keys": [key]})

    async def _token(self, request: web.Request) -> web.Response:
        """RFC 6749, 4.4."""
        form = await request.post()
        client, secret = _credentials(request, str(form.get("client_id", "")), str(form.get("client_secret", "")))
        if client != CLIENT or not compare_digest(secret.encode(), self._secret.encode()):
            return _refusal(401, "unauthorized_client", "Invalid client or Invalid client credentials")
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "Unsupported grant_type")
        answer = {"access_token": self._signed(), "expires_in": LIFETIME, "token_type": "Bearer", "scope": "profile"}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def _signed(self) -> str:
        """Make a JSON Web Token: RFC 7515, 3.1."""
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": self._kid}
        claims = {"iss": self.issuer, "iat": now, "exp": now + LIFETIME, "jti": str(uuid.uuid4()), "azp": CLIENT}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _credentials(request: web.Request, client: str, secret: str) -> tuple[str, str]:
    """Return the client's name and secret: RFC 6749, 2.3.1."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return client, secret
    try:
        client, _, secret = b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client), unquote_plus(secret)


def _refusal(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))


async def run(port: int, secret: str) -> None:
    """Serve on loopback until SIGTERM or SIGINT.

    Raises:
        OSError: The port is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    realm = Realm(f"http://127.0.0.1:{port}", secret)
    runner = web.AppRunner(realm.application(), access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await stop.wait()
    finally:
        await runner.cleanup()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--secret-file", type=click.Path(path_type=Path, exists=True), required=True)
def main(port: int, secret_file: Path) -> None:
    """Run the identity provider."""
    asyncio.run(run(port, secret_file.read_text().strip()))


if __name__ == "__main__":
    main()
