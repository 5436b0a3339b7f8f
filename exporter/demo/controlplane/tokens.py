"""Tokens of service accounts, signed with the API server's own key: shorter ones than it would give."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exporter.demo.controlplane.servers import ISSUER

__all__ = ["signed_token"]

_AGE = 3600
"""Seconds since when it says it is good."""


def signed_token(key_file: Path, account: str, namespace: str, uid: str, seconds: float) -> str:
    """Return a JSON Web Token (RFC 7515, 3.1) of a service account whose `exp` is so many seconds ahead, or past."""
    key = load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{key_file} holds no RSA key")
    now = time.time()
    claims = {
        "iss": ISSUER, "aud": [ISSUER], "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": int(now) - _AGE, "nbf": int(now) - _AGE, "exp": int(now + seconds),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
    }  # fmt: skip
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return f"{signed}.{_encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
