"""Statements as they are kept outside the process: encrypted with a key of the tenant's secret, large ones compressed.

A value is 12 random bytes and what AES-256-GCM makes of the digest, the id of the voided statement and the content. It
can only be opened under its own tenant and id.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.common.auth.tenant import Tenant
from services.common.encryption.nonces import NONCE_BYTES, new_nonce
from services.ingest.application.statements import KeptStatement

_KEY_BYTES = 32
_DIGEST_BYTES = 16
_UUID_CHARACTERS = 36
_PURPOSE = b"cairn kept statements"
# Faster than the network, and a third of the size.
_LEVEL = 1
# Compressing less saves 0.3 kB at most, and takes longer than all else that is done to keep a statement.
_COMPRESSED_BYTES_MIN = 1_024
# With which compressed content begins, and JSON does not.
_COMPRESSED = b"x"


def seal(tenant: Tenant, statement: KeptStatement) -> bytes:
    """A statement as a value; who is in it is kept elsewhere."""
    voids = statement.voids.ljust(_UUID_CHARACTERS).encode()
    content = statement.content
    if len(content) >= _COMPRESSED_BYTES_MIN:
        content = zlib.compress(content, _LEVEL)
    plain = statement.digest + voids + content
    nonce = new_nonce()
    return nonce + _cipher(tenant.secret).encrypt(nonce, plain, _associated(tenant, statement.statement_id))


def opened(tenant: Tenant, statement_id: str, value: bytes) -> KeptStatement | None:
    """The statement in a value; None where it is none of this tenant and id, or damaged."""
    try:
        plain = _cipher(tenant.secret).decrypt(
            value[:NONCE_BYTES], value[NONCE_BYTES:], _associated(tenant, statement_id)
        )
        content = plain[_DIGEST_BYTES + _UUID_CHARACTERS :]
        if content.startswith(_COMPRESSED):
            content = zlib.decompress(content)
    except (InvalidTag, ValueError, zlib.error):
        return None
    voids = plain[_DIGEST_BYTES : _DIGEST_BYTES + _UUID_CHARACTERS].decode().strip()
    return KeptStatement(statement_id, plain[:_DIGEST_BYTES], content, voids=voids)


def _associated(tenant: Tenant, statement_id: str) -> bytes:
    return f"{tenant.name}/{statement_id}".encode()


@lru_cache(maxsize=256)
def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE).derive(secret))
