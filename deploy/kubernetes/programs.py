"""The programs of the cluster: Kubernetes and etcd are built from Go modules, once per version; Debian has the rest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from deploy.kubernetes import isolation
from deploy.processes import StackError, output_of

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cairn"
PLUGINS = Path("/usr/lib/cni")

_MODULE = Path(__file__).parent
_KUBERNETES = "k8s.io/kubernetes"
# In the order in which a cluster needs them: the folder of the module, and the package.
_PACKAGES = {
    "etcd": (".", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": (".", f"{_KUBERNETES}/cmd/kube-apiserver"),
    "kube-controller-manager": (".", f"{_KUBERNETES}/cmd/kube-controller-manager"),
    "kube-scheduler": (".", f"{_KUBERNETES}/cmd/kube-scheduler"),
    "kubelet": (".", f"{_KUBERNETES}/cmd/kubelet"),
    "kube-proxy": (".", f"{_KUBERNETES}/cmd/kube-proxy"),
    "kubectl": (".", f"{_KUBERNETES}/cmd/kubectl"),
    "pause": (".", "./pause"),
    "helm": ("helm", "helm.sh/helm/v3/cmd/helm"),
    "kube-router": ("policies", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
}
_BUILD = ("nice", "-n", "15", "go", "build", "-trimpath", "-buildvcs=false")
# Executables, and the Debian packages that have them.
_TOOLS = {
    "go": "Go 1.24",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "ipset": "ipset",
    "unshare": "util-linux",
}


def missing_tools() -> list[str]:
    """What this machine lacks to run a cluster: rights, programs and Debian packages."""
    missing = [] if isolation.allowed() else ["root with the right to make namespaces"]
    missing += [package for program, package in _TOOLS.items() if shutil.which(program) is None]
    if not (PLUGINS / "bridge").exists():
        missing.append("containernetworking-plugins")
    return missing


def folder() -> Path:
    """Where the programs of this version are, or will be."""
    pinned = b"".join(path.read_bytes() for path in sorted(_MODULE.glob("**/go.*")) + sorted(_MODULE.glob("**/*.go")))
    return CACHE / f"kubernetes-{hashlib.sha256(pinned).hexdigest()[:12]}"


def are_built() -> bool:
    """Whether every program of this version has been built."""
    return all((folder() / name).exists() for name in _PACKAGES)


def build(progress: Callable[[str], None]) -> Path:
    """Build the programs that have not been built, at a low priority, and return their folder.

    Args:
        progress: called with the name of each program before it is built.

    Raises:
        StackError: when Go fails.
    """
    programs = folder()
    programs.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in _PACKAGES if not (programs / name).exists()]
    for number, name in enumerate(wanted, 1):
        module, package = _PACKAGES[name]
        progress(f"building {name} ({number} of {len(wanted)}; about 15 minutes of processor time in all)")
        # Built under another name: a program that exists is complete.
        arriving = programs / f".{name}.{os.getpid()}"
        output_of(
            [*_BUILD, "-ldflags", _linking(), "-o", arriving, package],
            what=f"building {name} with Go",
            environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            directory=_MODULE / module,
        )
        arriving.rename(programs / name)
    return programs


def version() -> str:
    """The version of Kubernetes, as pinned in go.mod."""
    go_mod = _MODULE / "go.mod"
    found = re.search(rf"^\s*{_KUBERNETES} (v\S+)", go_mod.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise StackError(f"{go_mod} names no version of {_KUBERNETES}: restore it")
    return found[1]


def _linking() -> str:
    """Linker flags: no debugging information, and the version that the programs report."""
    major, minor, _ = version().removeprefix("v").split(".")
    at = "k8s.io/component-base/version"
    return f"-s -w -X {at}.gitVersion={version()} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}"
