"""The store of bundles over a real directory and over fsspec's memory file system."""

from __future__ import annotations

import re
import threading
import uuid

import fsspec
import pytest

from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError, FsspecBundleStore
from services.recommender.application.ports.models import BundleUnwritableError
from tests.suites.bundle_store import BundleStoreSuite, draft


class TestBundlesInADirectory(BundleStoreSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return str(tmp_path / "bundles")


class TestBundlesInMemory(BundleStoreSuite):
    @pytest.fixture
    def url(self):
        url = f"memory://bundles-{uuid.uuid4().hex}"
        yield url
        files, root = fsspec.core.url_to_fs(url)
        if files.exists(root):
            files.rm(root, recursive=True)


def test_a_url_that_fsspec_does_not_know_is_refused_with_a_remedy():
    with pytest.raises(BundlesUrlInvalidError, match=r"'gopher://x' cannot be used.*give a path or a URL"):
        FsspecBundleStore("gopher://x", {})


def test_an_unwritable_location_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleUnwritableError, match=r"cannot be written to .*check that"):
        FsspecBundleStore(str(tmp_path / "file"), {}).write(draft())


def test_the_manifest_is_the_last_file_to_appear(tmp_path, monkeypatch):
    store = FsspecBundleStore(str(tmp_path), {})
    written = []
    put = store._put

    def recording_put(path, payload):
        assert not list(tmp_path.glob("*/manifest.json"))
        written.append(path)
        put(path, payload)

    monkeypatch.setattr(store, "_put", recording_put)
    bundle_id = store.write(draft())
    assert re.search(r"/\.manifest\.json$", written[-1])
    assert (tmp_path / bundle_id / "manifest.json").exists()
    assert not (tmp_path / bundle_id / ".manifest.json").exists()


def test_a_write_that_fails_in_the_middle_leaves_nothing_behind(tmp_path, monkeypatch):
    store = FsspecBundleStore(str(tmp_path), {})
    put, calls = store._put, []

    def failing_put(path, payload):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        put(path, payload)

    monkeypatch.setattr(store, "_put", failing_put)
    with pytest.raises(BundleUnwritableError, match="No space left on device"):
        store.write(draft())
    assert list(tmp_path.iterdir()) == []


def test_a_reader_polling_while_a_bundle_is_written_sees_it_whole_or_not_at_all(tmp_path):
    store = FsspecBundleStore(str(tmp_path), {"als": lambda arrays: arrays})
    done = threading.Event()
    seen: list[str] = []

    def poll():
        while not done.is_set():
            latest = store.latest_id()
            if latest is not None:
                seen.append(store.load(latest).bundle_id)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        ids = [store.write(draft(records=records)) for records in range(20)]
        while not seen:
            pass
    finally:
        done.set()
        poller.join()
    assert set(seen) <= set(ids)
