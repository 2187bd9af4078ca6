"""The node: its network and who enforces its policies, the container runtime, the kubelet, the proxy for services."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from deploy.kubernetes import names, pause_image
from deploy.kubernetes.api import Api, ApiError
from deploy.kubernetes.control_plane import SERVICE_ADDRESSES, Identities
from deploy.kubernetes.parts import Parts
from deploy.kubernetes.programs import PLUGINS
from deploy.processes import LOOPBACK, output_of

NAME = "node"
ADDRESS = "10.245.0.1"

_BRIDGE = "cairn0"
_POD_ADDRESSES = "10.245.0.0/24"
_PAUSE = "localhost/pause:1"
_SOCKET = "/run/containerd/containerd.sock"
_KUBELET_HEALTH = 10248
_READY_DEADLINE_S = 120.0


class Node:
    """The only node of a cluster, in namespaces that `isolation.enter` furnished."""

    def __init__(self, programs: Path, parts: Parts, identities: Identities, api: Api) -> None:
        """Prepare it.

        Args:
            programs: the folder of the programs.
            parts: of the cluster; their folder also takes settings and data.
            identities: who speaks with whom.
            api: of the control plane.
        """
        self._programs, self._parts, self._identities, self._api = programs, parts, identities, api
        self._directory = parts.directory

    def start_runtime(self) -> None:
        """Make the network and start the container runtime; return once images can be imported."""
        _make_bridge()
        network = self._write("network/10-bridge.conflist", json.dumps(_network()))
        settings = self._write("containerd.toml", _runtime(network.parent, self._directory / "containerd"))
        runtime = self._parts.start("containerd", ["containerd", "--config", str(settings)])
        runtime.wait_ready(lambda: _answers("ctr", "--address", _SOCKET, "version"), _READY_DEADLINE_S)
        pause = self._directory / "pause.tar"
        pause_image.write(self._programs / "pause", pause, _PAUSE, platform.machine())
        self.import_image(pause)

    def start(self) -> None:
        """Start the kubelet and the proxy, and return once the node can run pods.

        Raises:
            ComponentFailedError: when a part exits or is not ready in time.
        """
        clients = self._identities.clients
        kubelet = self._parts.start(
            "kubelet",
            [
                str(self._programs / "kubelet"),
                f"--config={self._write('kubelet.json', json.dumps(self._kubelet()))}",
                f"--kubeconfig={clients['kubelet']}",
                f"--hostname-override={NAME}",
                f"--node-ip={ADDRESS}",
            ],
        )
        proxy = self._write("proxy.json", json.dumps(_proxy(clients["proxy"])))
        self._parts.start("kube-proxy", [str(self._programs / "kube-proxy"), f"--config={proxy}"])
        names.Names(self._api).start(ADDRESS)
        kubelet.wait_ready(self._ready, _READY_DEADLINE_S)
        # It looks for its node when it starts.
        self._parts.start("kube-router", [str(self._programs / "kube-router"), *_policies(clients["administrator"])])

    def import_image(self, archive: Path) -> None:
        """Import an image that `podman save` or `docker save` wrote.

        Raises:
            StackError: when the archive cannot be read.
        """
        command = ["ctr", "--address", _SOCKET, "--namespace", "k8s.io", "images", "import", str(archive)]
        output_of(command, what=f"containerd's import of {archive}")

    def _ready(self) -> bool:
        try:
            conditions = self._api.get(f"/api/v1/nodes/{NAME}")["status"]["conditions"]
            # Pods of a namespace need its account, which the controllers make.
            self._api.get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError:
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "healthzBindAddress": LOOPBACK,
            "healthzPort": _KUBELET_HEALTH,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._identities.authority.certificate)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._directory.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # Only root with all its capabilities may lower the score below that of its parent.
            "oomScoreAdj": 0,
            "maxOpenFiles": 20_000,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            # Images are imported: one that was removed would not come back.
            "imageGCHighThresholdPercent": 100,
            "clusterDNS": [ADDRESS],
            "clusterDomain": names.DOMAIN,
            "resolvConf": "",
        }

    def _write(self, name: str, content: str) -> Path:
        file = self._directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file


def _make_bridge() -> None:
    """The bridge that pods are connected to; its address is the node's, and the way to services from the node."""
    for arguments in (
        ("link", "add", _BRIDGE, "type", "bridge"),
        ("address", "add", f"{ADDRESS}/24", "dev", _BRIDGE),
        ("link", "set", _BRIDGE, "up"),
        # Nobody is there: the proxy replaces a service's address by a pod's. Without a route no packet gets so far.
        ("route", "add", SERVICE_ADDRESSES, "dev", _BRIDGE),
    ):
        subprocess.run(["ip", *arguments], check=True)


def _network() -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": _BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": _POD_ADDRESSES, "gateway": ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def _runtime(networks: Path, directory: Path) -> str:
    # TOML strings have the escapes of JSON.
    return f"""version = 2
root = {json.dumps(str(directory))}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {json.dumps(_PAUSE)}
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {json.dumps(str(PLUGINS))}
    conf_dir = {json.dumps(str(networks))}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _proxy(configuration: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NAME,
        "clusterCIDR": _POD_ADDRESSES,
        "clientConnection": {"kubeconfig": str(configuration)},
        # The limits of connection tracking are the machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # Pods come and go quickly here.
        "iptables": {"minSyncPeriod": "0.2s"},
    }


def _policies(configuration: Path) -> list[str]:
    """Options of kube-router, which enforces network policies and does nothing else here."""
    off = ("run-router", "run-service-proxy", "enable-cni", "disable-source-dest-check")
    return [
        "--run-firewall=true",
        *(f"--{name}=false" for name in off),
        "--health-port=0",
        f"--kubeconfig={configuration}",
        f"--hostname-override={NAME}",
        f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
    ]


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
