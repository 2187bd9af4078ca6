"""Who may do what on a secured cluster: TLS for brokers, SCRAM for users, ACLs for what each may do.

It secures one listener of a cluster on loopback. Its other listeners stay as they are: whoever reaches them may do
anything, so that tests can look into the cluster.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from deploy.kafka.certificates import Authority
from services.common.kafka.connection import KafkaConnection, admin_client
from services.common.kafka.security import KafkaSecurity, KafkaTls, Mechanism, Password

ACLS = Path(__file__).parents[1] / "acls.yaml"

_LISTENER = "SECURED"
_ALWAYS = "User:ANONYMOUS"
_TYPES = {
    "topics": ResourceType.TOPIC,
    "groups": ResourceType.GROUP,
    "transactional_ids": ResourceType.TRANSACTIONAL_ID,
}


class ClusterAccess:
    """The certificates, users and ACLs of a cluster.

    Attributes:
        authority: signs the brokers' certificates.
    """

    def __init__(self, directory: Path, users: Sequence[str]) -> None:
        """Args: `directory` for its files; it is created. `users`, each with a random password."""
        self.authority = Authority(directory)
        self._passwords = {user: directory / f"{user}.password" for user in users}
        for file in self._passwords.values():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        # Kafka reads the certificate chain and the key from one file.
        self._store = directory / "broker-store.pem"
        self._store.touch(mode=0o600)
        broker = self.authority.sign("broker")
        self._store.write_bytes(broker.key.read_bytes() + broker.certificate.read_bytes())

    def security_of(self, user: str) -> KafkaSecurity:
        """How a user reaches the listener."""
        login = Password(Mechanism.SCRAM_SHA_512, user, self._passwords[user])
        return KafkaSecurity(KafkaTls(self.authority.certificate), login)

    def environment_of(self, user: str, servers: str) -> dict[str, str]:
        """The settings with which a Cairn process reaches the listener as a user."""
        return {
            "CAIRN_KAFKA": servers,
            "CAIRN_KAFKA_SECURITY": "sasl_tls",
            "CAIRN_KAFKA_CA": str(self.authority.certificate),
            "CAIRN_KAFKA_MECHANISM": Mechanism.SCRAM_SHA_512.value,
            "CAIRN_KAFKA_USERNAME": user,
            "CAIRN_KAFKA_PASSWORD_FILE": str(self._passwords[user]),
        }

    def secured(self, settings: Mapping[str, object], address: str) -> dict[str, object]:
        """A node's settings with the listener at `address`, host:port."""
        name = _LISTENER.lower()
        protocols = f"{settings['listener.security.protocol.map']},{_LISTENER}:SASL_SSL"
        return {
            **settings,
            "listeners": f"{settings['listeners']},{_LISTENER}://{address}",
            "advertised.listeners": f"{settings['advertised.listeners']},{_LISTENER}://{address}",
            "listener.security.protocol.map": protocols,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": _ALWAYS,
            "allow.everyone.if.no.acl.found": "false",
            f"listener.name.{name}.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            # Accepts tokens that nobody signed, which Kafka offers for trials.
            f"listener.name.{name}.oauthbearer.sasl.jaas.config": (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";'
            ),
            f"listener.name.{name}.ssl.keystore.type": "PEM",
            f"listener.name.{name}.ssl.keystore.location": self._store,
        }

    @property
    def format_arguments(self) -> list[str]:
        """What creates the users when a node formats its storage."""
        return [
            argument
            for user, file in self._passwords.items()
            for argument in (
                "--add-scram",
                f"SCRAM-SHA-512=[name={user},password={file.read_text(encoding='utf-8')}]",
            )
        ]


def grant(connection: KafkaConnection, acls: Path = ACLS) -> None:
    """Allow each user what a file of ACLs says, and nothing else.

    Args:
        connection: of somebody who may change ACLs.
        acls: by user, and by kind of resource, the operations on each resource.
    """
    wanted = [
        ACL(
            principal=f"User:{user}",
            host="*",
            operation=ACLOperation[operation],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=_pattern(kind, name),
        )
        for user, resources in yaml.safe_load(acls.read_text(encoding="utf-8"))["users"].items()
        for kind, names in resources.items()
        for name, operations in names.items()
        for operation in operations
    ]
    admin = admin_client(connection)
    try:
        admin.create_acls(wanted)
    finally:
        admin.close()


def _pattern(kind: str, name: str) -> ResourcePattern:
    """A resource; a name that ends in `*` stands for all that begin so."""
    if name.endswith("*") and len(name) > 1:
        return ResourcePattern(_TYPES[kind], name[:-1], ACLResourcePatternType.PREFIXED)
    return ResourcePattern(_TYPES[kind], name, ACLResourcePatternType.LITERAL)
