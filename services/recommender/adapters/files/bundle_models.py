"""How fitted models are stored in a bundle: the files of each kind of model, and how they are read back.

Per tenant, arrays are .npy files and ids are JSON. No pickle.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import orjson
from numpy.typing import NDArray

from services.recommender.adapters.files.bundle_files import BundleFiles
from services.recommender.adapters.files.bundle_manifest import (
    MANIFEST,
    Choice,
    DescribedModel,
    DescribedRecall,
    DescribedSuccess,
    DescribedTenant,
    unreadable,
)
from services.recommender.application.ports.models import CollaborativeChoice, ModelArrays, TenantModels
from services.recommender.domain.learner.item_pairs import NO_PAIRS, ItemPairs
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
)
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallModel
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel

# The prefixes of the models' file names.
COLLABORATIVE, RANKER = "collaborative", "ranker"


def read_tenant(reader: BundleFiles, tenant: str, described: DescribedTenant) -> TenantModels:
    """Everything that a bundle holds for a tenant, ready to be written to another bundle."""
    return TenantModels(
        parameters=read_parameters(reader, tenant, described),
        collaborative=None
        if described.collaborative is None
        else read_model(reader, tenant, described.collaborative, COLLABORATIVE),
        collaborative_absent=described.collaborative_absent,
        counts=described.counts,
        metrics=described.metrics,
        hyperparameters=described.hyperparameters,
        carried_from=described.carried_from or reader.bundle_id,
        success=None if described.success is None else read_success(reader, tenant, described.success),
        choice=None if described.choice is None else CollaborativeChoice(**described.choice.model_dump()),
        ranker=None if described.ranker is None else read_model(reader, tenant, described.ranker, RANKER),
        recall=None if described.recall is None else read_recall(reader, tenant, described.recall),
    )


def read_parameters(reader: BundleFiles, tenant: str, described: DescribedTenant) -> TenantParameters:
    """A tenant's difficulties. Raises BundleUnreadableError."""
    items, skills = reader.ids(f"{tenant}/items.json"), reader.ids(f"{tenant}/skills.json")
    item_rows = reader.table(f"{tenant}/item_difficulties.npy", rows=len(items), columns=2)
    skill_rows = reader.table(f"{tenant}/skill_difficulties.npy", rows=len(skills), columns=3)
    try:
        settings = FilterSettings(**described.settings)
    except TypeError as error:
        raise unreadable(reader.bundle_id, MANIFEST, f"tenants.{tenant}.settings: {error}") from error
    return TenantParameters(
        recent_items=described.success is not None and described.success.recent_items,
        settings=settings,
        items={item: ItemDifficulty(*row) for item, row in zip(items, item_rows, strict=True)},
        skills={skill: SkillDifficulty(*row) for skill, row in zip(skills, skill_rows, strict=True)},
    )


def read_model(reader: BundleFiles, tenant: str, described: DescribedModel, role: str) -> ModelArrays:
    """A model's arrays; `role` is the prefix of its file names. Raises BundleUnreadableError."""
    return ModelArrays(
        kind=described.kind,
        hyperparameters=described.hyperparameters,
        resources=reader.ids(f"{tenant}/{role}_resources.json"),
        arrays={name: reader.array(array_file(tenant, name, role)) for name in described.arrays},
        skills=reader.ids(f"{tenant}/{role}_skills.json") if role == RANKER else (),
    )


def read_success(reader: BundleFiles, tenant: str, described: DescribedSuccess) -> SuccessModel:
    """A tenant's success model. Raises BundleUnreadableError."""
    known, found = SHARED_FEATURES, tuple(described.features)
    if found != tuple(feature for feature in known if feature in found):
        strange = ", ".join(sorted(set(found) - set(known))) or "their order"
        raise unreadable(
            reader.bundle_id,
            MANIFEST,
            f"tenants.{tenant}.success: its features are not those this program knows ({strange}): train again",
        )
    skills = reader.ids(f"{tenant}/success_skills.json")
    places = [known.index(feature) for feature in found]

    def numbers(name: str, rows: int) -> NDArray[np.float64]:
        # A feature that is newer than the bundle weighs nothing.
        placed = np.zeros((rows, len(known)))
        placed[:, places] = np.reshape(
            reader.table(f"{tenant}/success_{name}.npy", rows=rows, columns=len(found)), (rows, len(found))
        )
        return placed

    products = np.zeros((len(known), len(known)))
    products[places] = numbers("products", len(found))
    pairs = _read_pairs(reader, tenant) if described.recent_items else NO_PAIRS
    per_skill = numbers("per_skill", len(skills))
    return SuccessModel(products, numbers("ranges", 2), skills, per_skill, pairs, recent_items=described.recent_items)


def _read_pairs(reader: BundleFiles, tenant: str) -> ItemPairs:
    """The pairs of items that a success model reads. Raises BundleUnreadableError."""
    items = reader.ids(f"{tenant}/success_pair_items.json")
    starts, pairs = (reader.array(f"{tenant}/success_{name}.npy") for name in ("pair_starts", "pairs"))
    if (
        starts.shape != (2 * len(items) + 1,)
        or pairs.shape[1:] != (3,)
        or (np.diff(starts, prepend=0, append=len(pairs)) < 0).any()
        or not ((pairs[:, 0] >= 0) & (pairs[:, 0] < len(items))).all()
        # At -1, log-odds are divided by 0.
        or (pairs[:, 2] < 0).any()
    ):
        raise unreadable(reader.bundle_id, f"{tenant}/success_pairs.npy", f"it does not fit its {len(items)} items")
    later, surprise, information = pairs.T.copy()
    return ItemPairs(items, starts.astype(np.int64), later.astype(np.int32), surprise, information)


def read_recall(reader: BundleFiles, tenant: str, described: DescribedRecall) -> RecallModel:
    """A tenant's recall model. Raises BundleUnreadableError."""
    if tuple(described.features) != RECALL_FEATURES:
        raise unreadable(
            reader.bundle_id,
            MANIFEST,
            f"tenants.{tenant}.recall: its features are not those this program knows ({', '.join(RECALL_FEATURES)}): "
            "train again",
        )
    skills = reader.ids(f"{tenant}/recall_skills.json")
    # The intercept comes first.
    weights = reader.table(f"{tenant}/recall_weights.npy", rows=1 + len(RECALL_FEATURES), columns=1)
    offsets = reader.table(f"{tenant}/recall_offsets.npy", rows=len(skills), columns=1)
    found, of_skills = (np.asarray(values, np.float64).reshape(-1) for values in (weights, offsets))
    if (found[1:] < 0.0).any():
        raise unreadable(reader.bundle_id, f"{tenant}/recall_weights.npy", "a weight is negative: train again")
    return RecallModel(float(found[0]), found[1:], skills, of_skills)


def array_file(tenant: str, name: str, role: str) -> str:
    """The file of one of a model's arrays."""
    return f"{tenant}/{role}_{name}.npy"


def tenant_files(tenant: str, models: TenantModels) -> dict[str, bytes]:
    """The files of everything that was fitted for a tenant, by name."""
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
        if models.success.recent_items:
            pairs = models.success.pairs
            columns = np.column_stack([pairs.later, pairs.surprise, pairs.information])
            files[f"{tenant}/success_pair_items.json"] = orjson.dumps(list(pairs.items))
            # Places are far below 2^24, so float32 holds them exactly.
            files[f"{tenant}/success_pair_starts.npy"] = _npy(pairs.starts)
            files[f"{tenant}/success_pairs.npy"] = _npy(columns)
    if models.recall is not None:
        recall = models.recall
        files[f"{tenant}/recall_skills.json"] = orjson.dumps(list(recall.skills))
        files[f"{tenant}/recall_weights.npy"] = _npy(np.append(recall.intercept, recall.weights)[:, None])
        files[f"{tenant}/recall_offsets.npy"] = _npy(recall.offsets[:, None])
    for role, model in ((COLLABORATIVE, models.collaborative), (RANKER, models.ranker)):
        if model is not None:
            files[f"{tenant}/{role}_resources.json"] = orjson.dumps(list(model.resources))
            for name, values in sorted(model.arrays.items()):
                files[array_file(tenant, name, role)] = _npy(values)
    if models.ranker is not None:
        files[f"{tenant}/{RANKER}_skills.json"] = orjson.dumps(list(models.ranker.skills))
    return files


def as_stored(parameters: TenantParameters) -> TenantParameters:
    """Difficulties rounded to their stored precision, so that their id matches what will be read back."""
    return TenantParameters(
        recent_items=parameters.recent_items,
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


def _npy(values: NDArray[np.number]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, "<f4"), allow_pickle=False)
    return buffer.getvalue()


def _described_model(model: ModelArrays | None) -> DescribedModel | None:
    if model is None:
        return None
    return DescribedModel(kind=model.kind, hyperparameters=dict(model.hyperparameters), arrays=sorted(model.arrays))


def describe(models: TenantModels) -> DescribedTenant:
    """The manifest's entry for a tenant's models."""
    return DescribedTenant(
        settings=models.parameters.settings.stored(),
        collaborative=_described_model(models.collaborative),
        collaborative_absent=models.collaborative_absent,
        counts=dict(models.counts),
        metrics=dict(models.metrics),
        hyperparameters=dict(models.hyperparameters),
        carried_from=models.carried_from,
        success=None
        if models.success is None
        else DescribedSuccess(features=list(SHARED_FEATURES), recent_items=models.success.recent_items),
        choice=None if models.choice is None else Choice(**dataclasses.asdict(models.choice)),
        ranker=_described_model(models.ranker),
        recall=None if models.recall is None else DescribedRecall(features=list(RECALL_FEATURES)),
    )
