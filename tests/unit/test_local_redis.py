"""Which Redis tests and `make demo` run, and how it is named."""

from __future__ import annotations

import pytest

from deploy.local.redis import binary, description


def installed(directory, name, said):
    executable = directory / name
    executable.write_text(f"#!/bin/sh\necho '{said}'\n")
    executable.chmod(0o755)
    return str(executable)


@pytest.mark.parametrize(
    ("name", "said", "named"),
    [
        ("redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64 build=1", "Redis 6.2.14"),
        ("redis-server", "Redis server v=8.0.2 sha=00000000:0 malloc=libc bits=64 build=1", "Redis 8.0.2"),
        ("redis-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=libc bits=64 build=1", "Valkey 8.1.1"),
        ("valkey-server", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1", "Valkey 9.1.2"),
    ],
)
def test_an_installed_server_is_used_and_named_with_its_version(tmp_path, monkeypatch, name, said, named):
    executable = installed(tmp_path, name, said)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binary() == executable
    assert description() == f"{named} ({executable})"


def test_a_server_that_is_too_old_is_not_used(tmp_path, monkeypatch):
    old = installed(tmp_path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=libc bits=64 build=1")
    newer = installed(tmp_path, "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=libc bits=64 build=1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binary() == newer != old
