"""The domain and the application of every service load no I/O library."""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys

import pytest

IO_LIBRARIES = ("aiokafka", "kafka", "grpc", "redis", "pydantic", "cryptography", "fsspec")
LAYERS = [
    f"services.{name}.{layer}" for name in ("ingest", "catalog", "recommender") for layer in ("domain", "application")
]

# Imports modules one by one, and names the first one after which a library is loaded.
SCRIPT = """
import importlib, sys
modules, libraries = sys.argv[1].split(), sys.argv[2].split()
for module in modules:
    importlib.import_module(module)
    loaded = [library for library in libraries if library in sys.modules]
    if loaded:
        sys.exit(f"{module} loads {', '.join(loaded)}")
"""


def modules_of(package):
    folder = importlib.util.find_spec(package).submodule_search_locations
    return [package, *(found.name for found in pkgutil.walk_packages(folder, f"{package}."))]


def load(modules, libraries=IO_LIBRARIES):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, " ".join(modules), " ".join(libraries)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_importing_every_module_of_a_layer_loads_no_io_library(layer):
    result = load(modules_of(layer))
    assert result.returncode == 0, result.stderr


def test_the_ports_of_the_recommender_are_among_the_modules():
    assert "services.recommender.application.ports.log" in modules_of("services.recommender.application")


def test_a_module_that_loads_a_library_is_named():
    result = load(["services.common.kafka.connection"])
    assert result.returncode == 1
    assert "services.common.kafka.connection loads aiokafka" in result.stderr
