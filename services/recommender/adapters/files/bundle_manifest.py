"""The manifest of a bundle. It is written last: a bundle exists once its manifest exists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.recommender.application.ports.models import BundleUnreadableError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

BUNDLE_ID = r"^\d{8}T\d{9}Z-[0-9a-f]{16}$"
_TenantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
_ArrayName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
_FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}/[a-z0-9_]+\.(json|npy)$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StoredFile(_Part):
    """A file of the bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Window(_Part):
    """Which records the bundle was trained on."""

    log_identity: str
    begin_offsets: dict[int, int]
    end_offsets: dict[int, int]
    records: int
    duplicates: int
    skipped: dict[str, int]


class DescribedModel(_Part):
    """A model that is stored as arrays."""

    kind: str
    hyperparameters: dict[str, float]
    arrays: list[_ArrayName]


class Choice(_Part):
    """How the family of a tenant's collaborative model was chosen."""

    family: str
    settings: dict[str, float]
    measures: dict[str, float]
    absent: dict[str, str]
    seed: int


class DescribedSuccess(_Part):
    """A success model, the features it reads, and whether the states of its learners keep recent items."""

    features: list[str]
    recent_items: bool = False


class DescribedRecall(_Part):
    """A recall model and the features it reads."""

    features: list[str]


class DescribedTenant(_Part):
    """The models of one tenant; their arrays are in files."""

    settings: dict[str, float]
    collaborative: DescribedModel | None
    collaborative_absent: str
    counts: dict[str, int]
    metrics: dict[str, float]
    hyperparameters: dict[str, float]
    carried_from: str
    success: DescribedSuccess | None = None
    choice: Choice | None = None
    ranker: DescribedModel | None = None
    recall: DescribedRecall | None = None


class Content(_Part):
    """What the content hash covers: everything except the name and the time of writing."""

    format_version: int
    parameters_id: str
    window: Window
    libraries: dict[str, str]
    tenants: dict[_TenantName, DescribedTenant]
    files: dict[_FileName, StoredFile]


class Manifest(_Part):
    """A complete manifest."""

    bundle_id: str = Field(pattern=BUNDLE_ID)
    created_at: datetime
    content: Content


def unreadable(bundle_id: str, file_name: str, problem: str) -> BundleUnreadableError:
    """The error for an unusable bundle; it names the file at fault."""
    return BundleUnreadableError(f"the bundle {bundle_id} cannot be used: {file_name}: {problem}")


def parse_manifest(bundle_id: str, payload: bytes) -> Manifest:
    """A manifest, checked against the id of its bundle.

    Raises:
        BundleUnreadableError: when it differs from what was written.
    """
    try:
        content = orjson.loads(payload)["content"]
        found = content["format_version"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise unreadable(bundle_id, MANIFEST, "it is not the JSON of a bundle's manifest") from error
    if found != FORMAT_VERSION:
        raise unreadable(
            bundle_id, MANIFEST, f"it has format version {found}, this program reads {FORMAT_VERSION}: train again"
        )
    try:
        manifest = Manifest.model_validate_json(payload)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise unreadable(bundle_id, MANIFEST, f"{where}: {problem['msg']}") from error
    # The hash covers what was written: an older manifest that lacks a newer field stays readable.
    if manifest.bundle_id != bundle_id or bundle_id_of(manifest.created_at, content) != bundle_id:
        raise unreadable(bundle_id, MANIFEST, "its content does not match the hash in the bundle's id")
    return manifest


def bundle_id_of(created_at: datetime, content: Mapping[str, Any]) -> str:
    """Sorts by the time of writing, to the millisecond, and ends in a hash of the content."""
    moment = created_at.astimezone(UTC)
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}Z-{digest[:16]}"


def as_json(manifest: Manifest) -> bytes:
    """The manifest as it is written."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(manifest.model_dump(mode="json"), option=options)
