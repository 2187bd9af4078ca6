"""Bundles as directories on any file system that fsspec supports: local, memory, object stores.

`<url>/<bundle id>/manifest.json` and the files that it lists. Files are written first and the manifest last, under a
temporary name and then moved: a bundle exists once its manifest does, also where renaming a directory is not atomic.
A bundle never changes afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import partial
from typing import Any

import fsspec

from services.recommender.adapters.files.bundle_files import BundleFiles
from services.recommender.adapters.files.bundle_manifest import (
    BUNDLE_ID,
    FORMAT_VERSION,
    MANIFEST,
    Content,
    DescribedModel,
    DescribedTenant,
    Manifest,
    StoredFile,
    Window,
    as_json,
    bundle_id_of,
    parse_manifest,
    unreadable,
)
from services.recommender.adapters.files.bundle_models import (
    COLLABORATIVE,
    RANKER,
    array_file,
    as_stored,
    describe,
    read_model,
    read_parameters,
    read_recall,
    read_success,
    read_tenant,
    tenant_files,
)
from services.recommender.application.ports.models import (
    Bundle,
    BundleDraft,
    BundleUnreadableError,
    BundleUnwritableError,
    CollaborativeModel,
    ModelArrays,
    ModelArraysInvalidError,
    TenantModels,
    TenantRanker,
)
from services.recommender.domain.learner.parameter_identity import parameters_id
from services.recommender.domain.learner.parameters import TracingParameters

ModelDecoder = Callable[[ModelArrays], CollaborativeModel]
RankerDecoder = Callable[[ModelArrays], TenantRanker]


class BundlesUrlInvalidError(ValueError):
    """The URL of the bundle store cannot be used."""


class FsspecBundleStore:
    """Implements `BundleReader` and `BundleWriter`."""

    def __init__(
        self, url: str, decoders: Mapping[str, ModelDecoder], ranker_decoder: RankerDecoder | None = None
    ) -> None:
        """Open a store; nothing is read or written yet.

        Args:
            url: a path, or any URL that fsspec supports.
            decoders: a function for each kind of collaborative model that builds it from its arrays.
            ranker_decoder: builds learned rankers from their arrays; None: they are not read.

        Raises:
            BundlesUrlInvalidError: when fsspec does not know the URL.
        """
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise BundlesUrlInvalidError(
                f"the URL of bundles {url!r} cannot be used: {error}; give a path or a URL that fsspec knows"
            ) from error
        self._url = url
        self._decoders = dict(decoders)
        self._ranker_decoder = ranker_decoder

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none.

        Raises:
            BundleUnreadableError: when the store cannot be listed.
        """
        try:
            self._files.invalidate_cache()
            names = [path.rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False)]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleUnreadableError(f"the bundles in {self._url} cannot be listed: {error}") from error
        # Ids sort by the time of writing. A folder without a manifest is still being written, or was abandoned.
        return next(
            (
                name
                for name in sorted(names, reverse=True)
                if re.match(BUNDLE_ID, name) and self._files.exists(self._path(name, MANIFEST))
            ),
            None,
        )

    def load(self, bundle_id: str) -> Bundle:
        """Read a bundle and verify each of its files.

        Raises:
            BundleUnreadableError: naming the file that is missing, damaged or not understood.
        """
        manifest = self._manifest(bundle_id)
        reader = self._reader(manifest)
        tenants = {name: read_parameters(reader, name, tenant) for name, tenant in manifest.content.tenants.items()}
        if parameters_id(tenants) != manifest.content.parameters_id:
            raise unreadable(bundle_id, MANIFEST, "its parameters_id is not that of its difficulties")
        return Bundle(
            bundle_id=bundle_id,
            created_at=manifest.created_at,
            parameters=TracingParameters(manifest.content.parameters_id, tenants),
            collaborative={
                name: self._decode(reader, name, tenant.collaborative)
                for name, tenant in manifest.content.tenants.items()
                if tenant.collaborative is not None
            },
            success={
                name: read_success(reader, name, tenant.success)
                for name, tenant in manifest.content.tenants.items()
                if tenant.success is not None
            },
            rankers=self._rankers(reader, manifest.content.tenants),
            recall={
                name: read_recall(reader, name, tenant.recall)
                for name, tenant in manifest.content.tenants.items()
                if tenant.recall is not None
            },
        )

    def tenant_models(self, bundle_id: str) -> Mapping[str, TenantModels]:
        """The models of a bundle by tenant, ready to be written to another bundle.

        Raises:
            BundleUnreadableError: naming the file that is missing, damaged or not understood.
        """
        manifest = self._manifest(bundle_id)
        reader = self._reader(manifest)
        return {name: read_tenant(reader, name, described) for name, described in manifest.content.tenants.items()}

    def manifest(self, bundle_id: str) -> Mapping[str, Any]:
        """A bundle's manifest as JSON values, checked against the bundle's id.

        Raises:
            BundleUnreadableError: when it is missing or differs from what was written.
        """
        manifest: dict[str, Any] = self._manifest(bundle_id).model_dump(mode="json")
        return manifest

    def write(self, draft: BundleDraft) -> str:
        """Write a bundle, visible to readers only once it is whole, and return its id.

        Raises:
            BundleUnwritableError: when the store refuses.
        """
        tenants = {
            name: dataclasses.replace(models, parameters=as_stored(models.parameters))
            for name, models in sorted(draft.tenants.items())
        }
        payloads: dict[str, bytes] = {}
        for name, models in tenants.items():
            payloads.update(tenant_files(name, models))
        manifest = _manifest_of(draft, tenants, payloads)
        bundle_id = manifest.bundle_id
        try:
            for file_name, payload in payloads.items():
                self._put(self._path(bundle_id, file_name), payload)
            self._put(self._path(bundle_id, f".{MANIFEST}"), as_json(manifest))
            self._files.mv(self._path(bundle_id, f".{MANIFEST}"), self._path(bundle_id, MANIFEST))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._files.rm(self._path(bundle_id), recursive=True)
            raise BundleUnwritableError(
                f"the bundle {bundle_id} cannot be written to {self._url}: {error}; "
                "check that the location exists, has free space and is writable"
            ) from error
        return bundle_id

    def read_file(self, bundle_id: str, file_name: str) -> bytes:
        """The bytes of one file of a bundle, unchecked.

        Raises:
            BundleUnreadableError: when it cannot be read.
        """
        try:
            payload: bytes = self._files.cat_file(self._path(bundle_id, file_name))
        except FileNotFoundError as error:
            raise unreadable(bundle_id, file_name, "it is missing") from error
        except OSError as error:
            raise unreadable(bundle_id, file_name, f"it cannot be read: {error}") from error
        return payload

    def _reader(self, manifest: Manifest) -> BundleFiles:
        return BundleFiles(manifest.bundle_id, manifest.content.files, partial(self.read_file, manifest.bundle_id))

    def _path(self, *names: str) -> str:
        return "/".join((self._root.rstrip("/"), *names))

    def _put(self, path: str, payload: bytes) -> None:
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, payload)

    def _manifest(self, bundle_id: str) -> Manifest:
        if not re.match(BUNDLE_ID, bundle_id):
            raise BundleUnreadableError(
                f"{bundle_id!r} is not the id of a bundle; those in {self._url} are its folders"
            )
        payload = self.read_file(bundle_id, MANIFEST)
        return parse_manifest(bundle_id, payload)

    def _decode(self, reader: BundleFiles, tenant: str, described: DescribedModel) -> CollaborativeModel:
        decoder = self._decoders.get(described.kind)
        if decoder is None:
            raise unreadable(
                reader.bundle_id,
                MANIFEST,
                f"the tenant {tenant} has a collaborative model of kind {described.kind!r}; "
                f"this program knows {', '.join(sorted(self._decoders)) or 'none'}",
            )
        try:
            return decoder(read_model(reader, tenant, described, COLLABORATIVE))
        except ModelArraysInvalidError as error:
            names = ", ".join(array_file(tenant, name, COLLABORATIVE) for name in described.arrays)
            raise unreadable(reader.bundle_id, names, str(error)) from error

    def _rankers(self, reader: BundleFiles, tenants: Mapping[str, DescribedTenant]) -> dict[str, TenantRanker]:
        """Learned rankers by tenant; one that this program cannot serve is refused like a damaged file."""
        rankers: dict[str, TenantRanker] = {}
        for name, tenant in tenants.items():
            if tenant.ranker is None or self._ranker_decoder is None:
                continue
            try:
                rankers[name] = self._ranker_decoder(read_model(reader, name, tenant.ranker, RANKER))
            except ModelArraysInvalidError as error:
                raise unreadable(reader.bundle_id, array_file(name, "", RANKER), str(error)) from error
        return rankers


def _manifest_of(draft: BundleDraft, tenants: Mapping[str, TenantModels], payloads: Mapping[str, bytes]) -> Manifest:
    content = Content(
        format_version=FORMAT_VERSION,
        parameters_id=parameters_id({name: models.parameters for name, models in tenants.items()}),
        window=Window(**dataclasses.asdict(draft.window)),
        libraries=dict(draft.libraries),
        tenants={name: describe(models) for name, models in tenants.items()},
        files={
            name: StoredFile(sha256=hashlib.sha256(payload).hexdigest(), size=len(payload))
            for name, payload in payloads.items()
        },
    )
    created_at = draft.created_at.astimezone(UTC)
    bundle_id = bundle_id_of(created_at, content.model_dump(mode="json"))
    return Manifest(bundle_id=bundle_id, created_at=created_at, content=content)
