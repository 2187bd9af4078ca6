"""Bundles as directories on any file system that fsspec knows: local, memory, object stores.

`<url>/<bundle id>/manifest.json` and, per tenant, arrays as .npy and ids as JSON. No pickle. Files are written first
and the manifest last, under a temporary name and then moved: a bundle exists once its manifest does, also where
renaming a directory is not atomic. Nothing that is part of a bundle changes afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import fsspec
import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.recommender.application.ports.models import (
    Bundle,
    BundleDraft,
    BundleUnreadableError,
    BundleUnwritableError,
    CollaborativeChoice,
    CollaborativeModel,
    ModelArrays,
    ModelArraysInvalidError,
    TenantModels,
    TenantRanker,
)
from services.recommender.domain.learner.parameter_identity import parameters_id
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
    TracingParameters,
)
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ModelDecoder = Callable[[ModelArrays], CollaborativeModel]
RankerDecoder = Callable[[ModelArrays], TenantRanker]

# What a model's files are named after.
_COLLABORATIVE, _RANKER = "collaborative", "ranker"

_BUNDLE_ID = r"^\d{8}T\d{9}Z-[0-9a-f]{16}$"
_TenantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
_ArrayName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
_FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}/[a-z0-9_]+\.(json|npy)$")]


class BundlesUrlInvalidError(ValueError):
    """The URL of the store of bundles cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _File(_Part):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Window(_Part):
    log_identity: str
    begin_offsets: dict[int, int]
    end_offsets: dict[int, int]
    records: int
    duplicates: int
    skipped: dict[str, int]


class _Collaborative(_Part):
    kind: str
    hyperparameters: dict[str, float]
    arrays: list[_ArrayName]


class _Choice(_Part):
    family: str
    settings: dict[str, float]
    measures: dict[str, float]
    absent: dict[str, str]
    seed: int


class _Success(_Part):
    features: list[str]


class _Tenant(_Part):
    settings: dict[str, float]
    collaborative: _Collaborative | None
    collaborative_absent: str
    counts: dict[str, int]
    metrics: dict[str, float]
    hyperparameters: dict[str, float]
    carried_from: str
    success: _Success | None = None
    choice: _Choice | None = None
    ranker: _Collaborative | None = None


class _Content(_Part):
    """What the content hash covers: everything but the name and the time of writing."""

    format_version: int
    parameters_id: str
    window: _Window
    libraries: dict[str, str]
    tenants: dict[_TenantName, _Tenant]
    files: dict[_FileName, _File]


class _Manifest(_Part):
    bundle_id: str = Field(pattern=_BUNDLE_ID)
    created_at: datetime
    content: _Content


class FsspecBundleStore:
    """Implements `BundleReader` and `BundleWriter`."""

    def __init__(
        self, url: str, decoders: Mapping[str, ModelDecoder], ranker_decoder: RankerDecoder | None = None
    ) -> None:
        """Open a store; nothing is read or written yet.

        Args:
            url: a path, or any URL that fsspec knows.
            decoders: for each kind of collaborative model, what makes it from its arrays.
            ranker_decoder: what makes learned rankers from theirs; None: they are not read.

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
        # Ids sort by the time of writing. What has no manifest is being written, or was abandoned.
        return next(
            (
                name
                for name in sorted(names, reverse=True)
                if re.match(_BUNDLE_ID, name) and self._files.exists(self._path(name, MANIFEST))
            ),
            None,
        )

    def load(self, bundle_id: str) -> Bundle:
        """Read a bundle and verify every file of it.

        Raises:
            BundleUnreadableError: naming the file that is missing, damaged or not understood.
        """
        manifest = self._manifest(bundle_id)
        reader = _BundleFiles(self, bundle_id, manifest.content.files)
        tenants = {name: _read_parameters(reader, name, tenant) for name, tenant in manifest.content.tenants.items()}
        if parameters_id(tenants) != manifest.content.parameters_id:
            raise _unreadable(bundle_id, MANIFEST, "its parameters_id is not that of the difficulties beside it")
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
                name: _read_success(reader, name, tenant.success)
                for name, tenant in manifest.content.tenants.items()
                if tenant.success is not None
            },
            rankers=self._rankers(reader, manifest.content.tenants),
        )

    def tenant_models(self, bundle_id: str) -> Mapping[str, TenantModels]:
        """What a bundle holds, by tenant, to be put into another one.

        Raises:
            BundleUnreadableError: naming the file that is missing, damaged or not understood.
        """
        manifest = self._manifest(bundle_id)
        reader = _BundleFiles(self, bundle_id, manifest.content.files)
        return {
            name: TenantModels(
                parameters=_read_parameters(reader, name, described),
                collaborative=None
                if described.collaborative is None
                else _read_model(reader, name, described.collaborative, _COLLABORATIVE),
                collaborative_absent=described.collaborative_absent,
                counts=described.counts,
                metrics=described.metrics,
                hyperparameters=described.hyperparameters,
                carried_from=described.carried_from or bundle_id,
                success=None if described.success is None else _read_success(reader, name, described.success),
                choice=None if described.choice is None else CollaborativeChoice(**described.choice.model_dump()),
                ranker=None if described.ranker is None else _read_model(reader, name, described.ranker, _RANKER),
            )
            for name, described in manifest.content.tenants.items()
        }

    def manifest(self, bundle_id: str) -> Mapping[str, Any]:
        """A bundle's manifest, checked against its id, as JSON values.

        Raises:
            BundleUnreadableError: when it is missing or not what was written.
        """
        manifest: dict[str, Any] = self._manifest(bundle_id).model_dump(mode="json")
        return manifest

    def write(self, draft: BundleDraft) -> str:
        """Write a bundle, visible to readers only once it is whole, and return its id.

        Raises:
            BundleUnwritableError: when the store refuses.
        """
        tenants = {
            name: dataclasses.replace(models, parameters=_as_stored(models.parameters))
            for name, models in sorted(draft.tenants.items())
        }
        payloads: dict[str, bytes] = {}
        for name, models in tenants.items():
            payloads.update(_tenant_files(name, models))
        manifest = _manifest_of(draft, tenants, payloads)
        bundle_id = manifest.bundle_id
        try:
            for file_name, payload in payloads.items():
                self._put(self._path(bundle_id, file_name), payload)
            self._put(self._path(bundle_id, f".{MANIFEST}"), _as_json(manifest))
            self._files.mv(self._path(bundle_id, f".{MANIFEST}"), self._path(bundle_id, MANIFEST))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._files.rm(self._path(bundle_id), recursive=True)
            raise BundleUnwritableError(
                f"the bundle {bundle_id} cannot be written to {self._url}: {error}; "
                "check that the place exists, has room and may be written to"
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
            raise _unreadable(bundle_id, file_name, "it is missing") from error
        except OSError as error:
            raise _unreadable(bundle_id, file_name, f"it cannot be read: {error}") from error
        return payload

    def _path(self, *names: str) -> str:
        return "/".join((self._root.rstrip("/"), *names))

    def _put(self, path: str, payload: bytes) -> None:
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, payload)

    def _manifest(self, bundle_id: str) -> _Manifest:
        if not re.match(_BUNDLE_ID, bundle_id):
            raise BundleUnreadableError(
                f"{bundle_id!r} is not the id of a bundle; those in {self._url} are its folders"
            )
        payload = self.read_file(bundle_id, MANIFEST)
        try:
            content = orjson.loads(payload)["content"]
            found = content["format_version"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise _unreadable(bundle_id, MANIFEST, "it is not the JSON of a bundle's manifest") from error
        if found != FORMAT_VERSION:
            raise _unreadable(
                bundle_id, MANIFEST, f"it has format version {found}, this program reads {FORMAT_VERSION}: train again"
            )
        try:
            manifest = _Manifest.model_validate_json(payload)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise _unreadable(bundle_id, MANIFEST, f"{where}: {problem['msg']}") from error
        # The hash is of what stands there: a manifest from before a part existed lacks it and stays readable.
        if manifest.bundle_id != bundle_id or _bundle_id(manifest.created_at, content) != bundle_id:
            raise _unreadable(bundle_id, MANIFEST, "its content is not what the bundle's id was made from")
        return manifest

    def _decode(self, reader: _BundleFiles, tenant: str, described: _Collaborative) -> CollaborativeModel:
        decoder = self._decoders.get(described.kind)
        if decoder is None:
            raise _unreadable(
                reader.bundle_id,
                MANIFEST,
                f"the tenant {tenant} has a collaborative model of kind {described.kind!r}; "
                f"this program knows {', '.join(sorted(self._decoders)) or 'none'}",
            )
        try:
            return decoder(_read_model(reader, tenant, described, _COLLABORATIVE))
        except ModelArraysInvalidError as error:
            names = ", ".join(_array_file(tenant, name, _COLLABORATIVE) for name in described.arrays)
            raise _unreadable(reader.bundle_id, names, str(error)) from error

    def _rankers(self, reader: _BundleFiles, tenants: Mapping[str, _Tenant]) -> dict[str, TenantRanker]:
        """Learned rankers by tenant; what this program cannot serve is refused like any other damage."""
        rankers: dict[str, TenantRanker] = {}
        for name, tenant in tenants.items():
            if tenant.ranker is None or self._ranker_decoder is None:
                continue
            try:
                rankers[name] = self._ranker_decoder(_read_model(reader, name, tenant.ranker, _RANKER))
            except ModelArraysInvalidError as error:
                raise _unreadable(reader.bundle_id, _array_file(name, "", _RANKER), str(error)) from error
        return rankers


class _BundleFiles:
    """The files of one bundle, each verified against the manifest as it is read."""

    def __init__(self, store: FsspecBundleStore, bundle_id: str, files: Mapping[str, _File]) -> None:
        self.bundle_id = bundle_id
        self._store = store
        self._files = files

    def ids(self, file_name: str) -> tuple[str, ...]:
        """A list of distinct ids."""
        try:
            values = orjson.loads(self._verified(file_name))
        except orjson.JSONDecodeError as error:
            raise _unreadable(self.bundle_id, file_name, f"it is not JSON: {error}") from error
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise _unreadable(self.bundle_id, file_name, "it is not a list of ids")
        if len(set(values)) != len(values):
            raise _unreadable(self.bundle_id, file_name, "its ids are not distinct")
        return tuple(values)

    def array(self, file_name: str) -> NDArray[np.float32]:
        """A float32 array of finite numbers."""
        try:
            values = np.load(io.BytesIO(self._verified(file_name)), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise _unreadable(self.bundle_id, file_name, f"it is not a plain .npy array: {error}") from error
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise _unreadable(self.bundle_id, file_name, "it is not an array of finite float32 numbers")
        return values

    def table(self, file_name: str, *, rows: int, columns: int) -> list[list[float]]:
        """A float32 array of a known shape, as Python numbers."""
        values = self.array(file_name)
        if values.shape != (rows, columns):
            raise _unreadable(
                self.bundle_id, file_name, f"it has shape {values.shape}, its ids call for ({rows}, {columns})"
            )
        numbers: list[list[float]] = values.tolist()
        return numbers

    def _verified(self, file_name: str) -> bytes:
        expected = self._files.get(file_name)
        if expected is None:
            raise _unreadable(self.bundle_id, MANIFEST, f"it does not list {file_name}")
        payload = self._store.read_file(self.bundle_id, file_name)
        if len(payload) != expected.size:
            raise _unreadable(self.bundle_id, file_name, f"it has {len(payload)} bytes, {expected.size} were written")
        if hashlib.sha256(payload).hexdigest() != expected.sha256:
            raise _unreadable(self.bundle_id, file_name, "its SHA-256 is not the one in the manifest")
        return payload


def _unreadable(bundle_id: str, file_name: str, problem: str) -> BundleUnreadableError:
    return BundleUnreadableError(f"the bundle {bundle_id} cannot be used: {file_name}: {problem}")


def _read_parameters(reader: _BundleFiles, tenant: str, described: _Tenant) -> TenantParameters:
    items, skills = reader.ids(f"{tenant}/items.json"), reader.ids(f"{tenant}/skills.json")
    item_rows = reader.table(f"{tenant}/item_difficulties.npy", rows=len(items), columns=2)
    skill_rows = reader.table(f"{tenant}/skill_difficulties.npy", rows=len(skills), columns=3)
    try:
        settings = FilterSettings(**described.settings)
    except TypeError as error:
        raise _unreadable(reader.bundle_id, MANIFEST, f"tenants.{tenant}.settings: {error}") from error
    return TenantParameters(
        settings=settings,
        items={item: ItemDifficulty(*row) for item, row in zip(items, item_rows, strict=True)},
        skills={skill: SkillDifficulty(*row) for skill, row in zip(skills, skill_rows, strict=True)},
    )


def _read_model(reader: _BundleFiles, tenant: str, described: _Collaborative, role: str) -> ModelArrays:
    return ModelArrays(
        kind=described.kind,
        hyperparameters=described.hyperparameters,
        resources=reader.ids(f"{tenant}/{role}_resources.json"),
        arrays={name: reader.array(_array_file(tenant, name, role)) for name in described.arrays},
        skills=reader.ids(f"{tenant}/{role}_skills.json") if role == _RANKER else (),
    )


def _read_success(reader: _BundleFiles, tenant: str, described: _Success) -> SuccessModel:
    known, found = SHARED_FEATURES, tuple(described.features)
    if found != known:
        strange = ", ".join(sorted(set(found) ^ set(known))) or "their order"
        raise _unreadable(
            reader.bundle_id,
            MANIFEST,
            f"tenants.{tenant}.success: its features are not those this program knows ({strange}): train again",
        )
    skills, width = reader.ids(f"{tenant}/success_skills.json"), len(SHARED_FEATURES)

    def numbers(name: str, rows: int, columns: int) -> NDArray[np.float64]:
        table = reader.table(f"{tenant}/success_{name}.npy", rows=rows, columns=columns)
        return np.array(table, np.float64).reshape(rows, columns)

    return SuccessModel(
        products=numbers("products", width, width),
        ranges=numbers("ranges", 2, width),
        skills=skills,
        per_skill=numbers("per_skill", len(skills), len(SHARED_FEATURES)),
    )


def _array_file(tenant: str, name: str, role: str) -> str:
    return f"{tenant}/{role}_{name}.npy"


def _tenant_files(tenant: str, models: TenantModels) -> dict[str, bytes]:
    items, skills = models.parameters.items, models.parameters.skills
    files = {
        f"{tenant}/items.json": orjson.dumps(list(items)),
        f"{tenant}/item_difficulties.npy": _npy(
            np.array([(entry.mean, entry.variance) for entry in items.values()], np.float32).reshape(-1, 2)
        ),
        f"{tenant}/skills.json": orjson.dumps(list(skills)),
        f"{tenant}/skill_difficulties.npy": _npy(
            np.array(
                [(entry.mean, entry.variance, entry.mean_item_difficulty) for entry in skills.values()], np.float32
            ).reshape(-1, 3)
        ),
    }
    if models.success is not None:
        files[f"{tenant}/success_skills.json"] = orjson.dumps(list(models.success.skills))
        files[f"{tenant}/success_products.npy"] = _npy(models.success.products)
        files[f"{tenant}/success_ranges.npy"] = _npy(models.success.ranges)
        files[f"{tenant}/success_per_skill.npy"] = _npy(models.success.per_skill)
    for role, model in ((_COLLABORATIVE, models.collaborative), (_RANKER, models.ranker)):
        if model is not None:
            files[f"{tenant}/{role}_resources.json"] = orjson.dumps(list(model.resources))
            for name, values in sorted(model.arrays.items()):
                files[_array_file(tenant, name, role)] = _npy(values)
    if models.ranker is not None:
        files[f"{tenant}/{_RANKER}_skills.json"] = orjson.dumps(list(models.ranker.skills))
    return files


def _as_stored(parameters: TenantParameters) -> TenantParameters:
    """Difficulties rounded to the precision they are kept in, so that their id is that of what will be read."""
    return TenantParameters(
        settings=parameters.settings,
        items={
            item: ItemDifficulty(_rounded(entry.mean), _rounded(entry.variance))
            for item, entry in sorted(parameters.items.items())
        },
        skills={
            skill: SkillDifficulty(_rounded(entry.mean), _rounded(entry.variance), _rounded(entry.mean_item_difficulty))
            for skill, entry in sorted(parameters.skills.items())
        },
    )


def _rounded(value: float) -> float:
    return float(np.float32(value))


def _npy(values: NDArray[np.floating]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def _manifest_of(draft: BundleDraft, tenants: Mapping[str, TenantModels], payloads: Mapping[str, bytes]) -> _Manifest:
    content = _Content(
        format_version=FORMAT_VERSION,
        parameters_id=parameters_id({name: models.parameters for name, models in tenants.items()}),
        window=_Window(**dataclasses.asdict(draft.window)),
        libraries=dict(draft.libraries),
        tenants={name: _described(models) for name, models in tenants.items()},
        files={
            name: _File(sha256=hashlib.sha256(payload).hexdigest(), size=len(payload))
            for name, payload in payloads.items()
        },
    )
    created_at = draft.created_at.astimezone(UTC)
    bundle_id = _bundle_id(created_at, content.model_dump(mode="json"))
    return _Manifest(bundle_id=bundle_id, created_at=created_at, content=content)


def _as_json(manifest: _Manifest) -> bytes:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(manifest.model_dump(mode="json"), option=options)


def _described_model(model: ModelArrays | None) -> _Collaborative | None:
    if model is None:
        return None
    return _Collaborative(kind=model.kind, hyperparameters=dict(model.hyperparameters), arrays=sorted(model.arrays))


def _described(models: TenantModels) -> _Tenant:
    return _Tenant(
        settings=dataclasses.asdict(models.parameters.settings),
        collaborative=_described_model(models.collaborative),
        collaborative_absent=models.collaborative_absent,
        counts=dict(models.counts),
        metrics=dict(models.metrics),
        hyperparameters=dict(models.hyperparameters),
        carried_from=models.carried_from,
        success=None if models.success is None else _Success(features=list(SHARED_FEATURES)),
        choice=None if models.choice is None else _Choice(**dataclasses.asdict(models.choice)),
        ranker=_described_model(models.ranker),
    )


def _bundle_id(created_at: datetime, content: Mapping[str, Any]) -> str:
    """Sorts by the time of writing, to the millisecond, and ends in a hash of the content."""
    moment = created_at.astimezone(UTC)
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}Z-{digest[:16]}"
