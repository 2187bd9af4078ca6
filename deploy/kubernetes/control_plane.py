"""The control plane: etcd, the API server, the controllers and the scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.kafka.certificates import Authority, Signed
from deploy.kubernetes.api import Api
from deploy.kubernetes.parts import Parts
from deploy.processes import LOOPBACK, Child, accepts_connections

PORT = 6443
SERVICE_ADDRESSES = "10.96.0.0/16"

_ETCD_PORT = 2379
_FIRST_SERVICE = "10.96.0.1"
_READY_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Identities:
    """Who speaks with whom in the cluster.

    Attributes:
        authority: signs every certificate.
        server: the API server's certificate.
        administrator: may do everything.
        aggregator: the API server, when it passes a request on to another server.
        clients: the configuration file of each other user of the API server, by name.
        directory: where the files are.
    """

    authority: Authority
    server: Signed
    administrator: Signed
    aggregator: Signed
    clients: Mapping[str, Path]
    directory: Path


def identities(directory: Path, address: str, node: str) -> Identities:
    """New certificates and client configurations.

    Args:
        directory: for the files; it is created.
        address: of the node.
        node: its name.
    """
    authority = Authority(directory)
    users = {
        "controllers": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "kubelet": (f"system:node:{node}", "system:nodes"),
        "proxy": ("system:kube-proxy", ""),
    }
    administrator = authority.sign("administrator", group="system:masters")
    clients = {name: authority.sign(name, user=user, group=group) for name, (user, group) in users.items()}
    server = f"https://{LOOPBACK}:{PORT}"
    return Identities(
        authority=authority,
        server=authority.sign("kube-apiserver", addresses=(address, _FIRST_SERVICE)),
        administrator=administrator,
        aggregator=authority.sign("aggregator"),
        clients={
            name: _client_configuration(directory / f"{name}.json", server, authority, signed)
            for name, signed in {**clients, "administrator": administrator}.items()
        },
        directory=directory,
    )


class ControlPlane:
    """It listens on every address of a network that is the cluster's own, on the usual ports."""

    def __init__(self, programs: Path, parts: Parts, identities: Identities, address: str) -> None:
        """Prepare it.

        Args:
            programs: the folder of the programs.
            parts: of the cluster; their folder also takes the data.
            identities: who speaks with whom.
            address: the node's, where the API server can be reached.
        """
        self._programs, self._parts, self._identities, self._address = programs, parts, identities, address
        self.api = Api(LOOPBACK, PORT, str(identities.authority.certificate), identities.administrator)

    def start(self) -> None:
        """Start it and return once the API server does its work.

        Raises:
            ComponentFailedError: when a part exits or is not ready in time.
        """
        etcd = self._start(
            "etcd",
            {
                "data-dir": self._parts.directory / "etcd",
                "listen-client-urls": f"http://{LOOPBACK}:{_ETCD_PORT}",
                "advertise-client-urls": f"http://{LOOPBACK}:{_ETCD_PORT}",
                # The data need not survive a power cut.
                "unsafe-no-fsync": "true",
            },
        )
        etcd.wait_ready(lambda: accepts_connections(_ETCD_PORT), _READY_DEADLINE_S)
        server = self._start("kube-apiserver", self._server_options())
        server.wait_ready(self.api.ready, _READY_DEADLINE_S)
        self._start("kube-controller-manager", self._controller_options())
        scheduler = self._identities.clients["scheduler"]
        self._start("kube-scheduler", {**_known_as(scheduler), "bind-address": LOOPBACK, "leader-elect": "false"})

    def _server_options(self) -> dict[str, object]:
        who = self._identities
        return {
            "etcd-servers": f"http://{LOOPBACK}:{_ETCD_PORT}",
            "secure-port": PORT,
            "advertise-address": self._address,
            "tls-cert-file": who.server.certificate,
            "tls-private-key-file": who.server.key,
            "client-ca-file": who.authority.certificate,
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            "service-cluster-ip-range": SERVICE_ADDRESSES,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": who.server.certificate,
            "service-account-signing-key-file": who.server.key,
            "kubelet-client-certificate": who.administrator.certificate,
            "kubelet-client-key": who.administrator.key,
            "kubelet-preferred-address-types": "InternalIP",
            "proxy-client-cert-file": who.aggregator.certificate,
            "proxy-client-key-file": who.aggregator.key,
            "requestheader-client-ca-file": who.authority.certificate,
            "requestheader-allowed-names": "aggregator",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        }

    def _controller_options(self) -> dict[str, object]:
        return {
            **_known_as(self._identities.clients["controllers"]),
            "bind-address": LOOPBACK,
            "leader-elect": "false",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self._identities.server.key,
            "root-ca-file": self._identities.authority.certificate,
            # Three times as often as by default: a test waits for it.
            "horizontal-pod-autoscaler-sync-period": "5s",
        }

    def _start(self, program: str, options: Mapping[str, object]) -> Child:
        arguments = [str(self._programs / program), *(f"--{name}={value}" for name, value in options.items())]
        return self._parts.start(program, arguments)


def _known_as(configuration: Path) -> dict[str, object]:
    return dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), configuration)


def _client_configuration(file: Path, server: str, authority: Authority, client: Signed) -> Path:
    """Write how a client reaches the API server, as `kubectl` reads it."""
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority": str(authority.certificate)}}
        ],
        "users": [
            {"name": "user", "user": {"client-certificate": str(client.certificate), "client-key": str(client.key)}}
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user"}}],
        "current-context": "local",
    }
    file.write_text(json.dumps(configuration), encoding="utf-8")
    return file
