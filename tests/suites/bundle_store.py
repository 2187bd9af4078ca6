"""Behaviour of every bundle store. Tests of adapters inherit `BundleStoreSuite` and provide the URL."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import fsspec
import numpy as np
import orjson
import pytest

from services.recommender.adapters.files import bundle_models
from services.recommender.adapters.files.bundle_store import FsspecBundleStore
from services.recommender.application.ports.models import (
    BundleDraft,
    BundleUnreadableError,
    CollaborativeChoice,
    ModelArrays,
    TenantModels,
    TrainingWindow,
)
from services.recommender.domain.learner.item_pairs import ItemPairs
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
)
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallModel
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.positives import positives_of
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings
from services.recommender.models.collaborative.families import FAMILIES
from services.recommender.models.collaborative.fit import fit_collaborative
from services.recommender.models.collaborative.neighbours import ItemItemModel

CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
CHOICE = CollaborativeChoice("item_knn", {"shrinkage": 10.0}, {"item_knn": 0.11, "als": 0.1}, {"ease": "too large"}, 1)
WIDTH = len(SHARED_FEATURES)
PAIRS = ItemPairs(
    items=("item-a", "größe/ß"),
    starts=np.array([0, 1, 1, 2, 4]),
    later=np.array([1, 0, 0, 1], np.int32),
    surprise=np.array([0.1, -3.5, 0.0, 2.25], np.float32),
    information=np.array([0.2, 7.5, 0.7, 1.0], np.float32),
)
HEAD = SuccessModel(
    products=np.triu(np.random.default_rng(3).normal(size=(WIDTH, WIDTH))),
    ranges=np.vstack([np.full(WIDTH, -2.0), np.full(WIDTH, 2.0)]),
    skills=("fractions", "größe/ß"),
    per_skill=np.random.default_rng(4).normal(size=(2, len(SHARED_FEATURES))),
    pairs=PAIRS,
    recent_items=True,
)


RECALL = RecallModel(
    0.3, np.random.default_rng(5).random(len(RECALL_FEATURES)), ("fractions", "größe/ß"), np.array([0.25, -0.1])
)


def draft(*, created_at: datetime = CREATED_AT, records: int = 10) -> BundleDraft:
    """A bundle of two tenants, one with a collaborative model and one without."""
    factors = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)
    riverbend = TenantModels(
        parameters=TenantParameters(
            settings=FilterSettings(base=0.1),
            items={"item-b": ItemDifficulty(0.1, 0.2), "item-a": ItemDifficulty(-1.3, 0.7)},
            skills={"fractions": SkillDifficulty(0.4, 0.3, -0.6)},
            recent_items=True,
        ),
        collaborative=ModelArrays(
            "als", {"regularization": 0.1, "confidence": 3.0}, ("r1", "r2", "r3", "größe/ß"), {"factors": factors}
        ),
        collaborative_absent="",
        counts={"learners": 3, "responses": 9},
        metrics={"auc": 0.75},
        hyperparameters={"seed": 1.0},
        success=HEAD,
        choice=CHOICE,
        recall=RECALL,
    )
    hilltop = TenantModels(TenantParameters(), None, "2 learners, at least 10 are needed", {"learners": 2}, {}, {})
    return BundleDraft(
        created_at=created_at,
        window=TrainingWindow("log/2", {0: 0, 1: 5}, {0: 4, 1: 11}, records, 0, {"undecodable": 1}),
        tenants={"riverbend": riverbend, "hilltop": hilltop},
        libraries={"numpy": np.__version__},
    )


class _Tripwire:
    """Records that it was unpickled."""

    sprung: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _Tripwire.sprung.append, ("unpickled",)


class BundleStoreSuite:
    """Behaviour of a bundle store; subclasses provide the fixture `url`."""

    @pytest.fixture
    def store(self, url: str) -> FsspecBundleStore:
        return FsspecBundleStore(url, {"als": AlsModel.from_arrays})

    def test_a_new_store_has_no_latest_bundle(self, store):
        assert store.latest_id() is None

    def test_a_written_bundle_is_read_back(self, store):
        written = draft()
        bundle = store.load(store.write(written))

        assert bundle.created_at == CREATED_AT
        assert set(bundle.parameters.tenants) == {"riverbend", "hilltop"}
        assert bundle.parameters.for_tenant("hilltop") == TenantParameters()
        riverbend = bundle.parameters.for_tenant("riverbend")
        assert riverbend.settings == FilterSettings(base=0.1)
        assert riverbend.items["item-a"].mean == np.float32(-1.3)
        assert riverbend.skills["fractions"] == SkillDifficulty(*(float(np.float32(x)) for x in (0.4, 0.3, -0.6)))

    def test_a_model_read_back_scores_bit_for_bit_like_the_original(self, store):
        written = draft()
        stored = written.tenants["riverbend"].collaborative
        assert stored is not None
        bundle = store.load(store.write(written))
        history = ["r1", "größe/ß", "unknown"]
        model = bundle.collaborative["riverbend"]
        assert model.resources == stored.resources
        assert model.scores(history).tobytes() == AlsModel.from_arrays(stored).scores(history).tobytes()
        assert "hilltop" not in bundle.collaborative

    @pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("bpr", "popular")])
    def test_every_kind_of_model_that_tuning_may_choose_is_stored_with_its_settings(self, url, family):
        table = ResponseTableBuilder()
        for learner in range(60):
            for number in range(learner % 9, learner % 9 + 25):
                table.append(learner=f"l{learner:02}", item="", skills=[], response=1.0, resource=f"r{number:02}")
        positives = positives_of(table.build())
        store = FsspecBundleStore(url, {"als": AlsModel.from_arrays, "item_item": ItemItemModel.from_arrays})
        written = draft()
        for settings in FAMILIES[family].grid:
            choice = CollaborativeChoice(family, settings, {family: 0.1}, {}, 1)
            fitted = fit_collaborative(positives, choice=choice, default=AlsSettings(), seed=1)
            tenant = dataclasses.replace(
                written.tenants["riverbend"],
                collaborative=fitted.model,
                hyperparameters=fitted.hyperparameters,
                choice=choice,
            )
            bundle_id = store.write(dataclasses.replace(written, tenants={"riverbend": tenant}))
            model = store.load(bundle_id).collaborative["riverbend"]
            kept = (AlsModel if fitted.model.kind == "als" else ItemItemModel).from_arrays(fitted.model)
            assert model.scores(["r03", "r04"]).tobytes() == kept.scores(["r03", "r04"]).tobytes()
            assert store.tenant_models(bundle_id)["riverbend"].choice == choice

    def test_a_success_model_read_back_predicts_the_same_within_its_stored_precision(self, store):
        bundle = store.load(store.write(draft()))
        assert set(bundle.success) == {"riverbend"}
        success_model = bundle.success["riverbend"]
        assert success_model.skills == HEAD.skills
        for read, written in (
            (success_model.products, HEAD.products),
            (success_model.ranges, HEAD.ranges),
            (success_model.per_skill, HEAD.per_skill),
        ):
            assert read.tobytes() == written.astype(np.float32).astype(np.float64).tobytes()

    def test_pairs_of_items_are_read_back_bit_for_bit_and_states_keep_the_items_they_are_looked_up_by(self, store):
        bundle = store.load(store.write(draft()))
        assert [bundle.parameters.for_tenant(tenant).recent_items for tenant in ("riverbend", "hilltop")] == [
            True,
            False,
        ]
        success_model = bundle.success["riverbend"]
        assert success_model.recent_items
        assert success_model.pairs.items == PAIRS.items
        for name in ("starts", "later", "surprise", "information"):
            assert getattr(success_model.pairs, name).tobytes() == getattr(PAIRS, name).tobytes()

    @pytest.mark.parametrize(
        "change",
        [
            {"starts": np.array([0, 2, 1, 2, 4])},
            {"later": np.array([1, 0, 2, 1])},
            {"information": np.array([0.2, -1.0, 0.7, 1.0])},
        ],
    )
    def test_pairs_that_do_not_fit_their_items_are_refused(self, store, change):
        plain = draft()
        damaged = dataclasses.replace(HEAD, pairs=dataclasses.replace(PAIRS, **change))
        tenants = {**plain.tenants, "riverbend": dataclasses.replace(plain.tenants["riverbend"], success=damaged)}
        bundle_id = store.write(dataclasses.replace(plain, tenants=tenants))
        with pytest.raises(BundleUnreadableError, match=r"riverbend/success_pairs\.npy: it does not fit its 2 items"):
            store.load(bundle_id)

    def test_a_success_model_is_copied_bit_for_bit(self, store):
        first = store.write(draft())
        carried = dataclasses.replace(
            draft(created_at=CREATED_AT + timedelta(days=1)), tenants=store.tenant_models(first)
        )
        second = store.write(carried)
        names = ("products.npy", "ranges.npy", "per_skill.npy", "skills.json", "pairs.npy", "pair_starts.npy")
        for name in (f"success_{part}" for part in (*names, "pair_items.json")):
            assert store.read_file(first, f"riverbend/{name}") == store.read_file(second, f"riverbend/{name}")

    def test_a_recall_model_read_back_is_the_same_within_its_stored_precision_and_is_copied_bit_for_bit(self, store):
        first = store.write(draft())
        models = store.load(first).recall
        assert set(models) == {"riverbend"}
        found = models["riverbend"]
        assert found.intercept == np.float32(RECALL.intercept)
        assert found.skills == RECALL.skills
        for read, written in ((found.weights, RECALL.weights), (found.offsets, RECALL.offsets)):
            assert read.tobytes() == written.astype(np.float32).astype(np.float64).tobytes()
        second = store.write(
            dataclasses.replace(draft(created_at=CREATED_AT + timedelta(days=1)), tenants=store.tenant_models(first))
        )
        for name in ("recall_weights.npy", "recall_offsets.npy", "recall_skills.json"):
            assert store.read_file(first, f"riverbend/{name}") == store.read_file(second, f"riverbend/{name}")

    def test_a_recall_model_that_could_rise_with_time_or_has_other_features_is_refused(self, store, monkeypatch):
        plain = draft()
        rising = dataclasses.replace(RECALL, weights=RECALL.weights - 0.9)
        tenants = {**plain.tenants, "riverbend": dataclasses.replace(plain.tenants["riverbend"], recall=rising)}
        bundle_id = store.write(dataclasses.replace(plain, tenants=tenants))
        with pytest.raises(BundleUnreadableError, match=r"recall_weights\.npy: a weight is negative: train again"):
            store.load(bundle_id)
        monkeypatch.setattr(bundle_models, "RECALL_FEATURES", (*RECALL_FEATURES[:-1], "shoe_size"))
        other = store.write(plain)
        monkeypatch.undo()
        with pytest.raises(BundleUnreadableError, match=r"tenants\.riverbend\.recall: its features .*train again"):
            store.load(other)

    def test_the_choice_of_tuning_is_part_of_the_content_and_read_back(self, store):
        bundle_id = store.write(draft())
        assert store.manifest(bundle_id)["content"]["tenants"]["riverbend"]["choice"]["family"] == "item_knn"
        assert store.tenant_models(bundle_id)["riverbend"].choice == CHOICE
        assert store.tenant_models(bundle_id)["hilltop"].choice is None

    def test_a_success_model_with_other_features_is_refused(self, store, monkeypatch):
        monkeypatch.setattr(bundle_models, "SHARED_FEATURES", (*SHARED_FEATURES[:-1], "shoe_size"))
        bundle_id = store.write(draft())
        monkeypatch.undo()
        with pytest.raises(BundleUnreadableError, match=r"tenants\.riverbend\.success: .*\(shoe_size\).*train again"):
            store.load(bundle_id)

    def test_a_feature_that_is_newer_than_a_bundle_weighs_nothing(self, store, monkeypatch):
        before = tuple(name for name in SHARED_FEATURES if name != "item_unfitted")
        places = [SHARED_FEATURES.index(name) for name in before]
        older = dataclasses.replace(
            HEAD,
            products=HEAD.products[np.ix_(places, places)],
            ranges=HEAD.ranges[:, places],
            per_skill=HEAD.per_skill[:, places],
        )
        plain = draft()
        tenants = {**plain.tenants, "riverbend": dataclasses.replace(plain.tenants["riverbend"], success=older)}
        monkeypatch.setattr(bundle_models, "SHARED_FEATURES", before)
        bundle_id = store.write(dataclasses.replace(plain, tenants=tenants))
        monkeypatch.undo()
        found, newer = store.load(bundle_id).success["riverbend"], SHARED_FEATURES.index("item_unfitted")
        for values, expected in (
            (found.products[np.ix_(places, places)], older.products),
            (found.ranges[:, places], older.ranges),
            (found.per_skill[:, places], older.per_skill),
        ):
            np.testing.assert_allclose(values, expected, rtol=1e-6)
        for values in (found.products[newer], found.products[:, newer], found.ranges[:, newer]):
            assert not values.any()
        assert not found.per_skill[:, newer].any()

    def test_a_bundle_from_before_success_and_recall_models_existed_is_readable(self, store, url):
        plain = draft()
        plain = dataclasses.replace(plain, tenants={"hilltop": plain.tenants["hilltop"]})
        bundle_id = store.write(plain)
        files, root = fsspec.core.url_to_fs(url)
        manifest = orjson.loads(files.cat_file(f"{root}/{bundle_id}/manifest.json"))
        for part in ("success", "choice", "recall"):
            del manifest["content"]["tenants"]["hilltop"][part]
        digest = hashlib.sha256(orjson.dumps(manifest["content"], option=orjson.OPT_SORT_KEYS)).hexdigest()
        manifest["bundle_id"] = older = f"{bundle_id[:-16]}{digest[:16]}"
        files.mv(f"{root}/{bundle_id}", f"{root}/{older}", recursive=True)
        files.pipe_file(f"{root}/{older}/manifest.json", orjson.dumps(manifest))
        assert store.load(older).success == store.load(older).recall == {}

    def test_the_same_content_has_the_same_hash_whenever_it_is_written(self, store):
        first = store.write(draft())
        second = store.write(draft(created_at=CREATED_AT + timedelta(days=1)))
        other = store.write(draft(created_at=CREATED_AT + timedelta(days=2), records=11))
        hashes = [bundle_id.partition("-")[2] for bundle_id in (first, second, other)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_the_insertion_order_of_mappings_does_not_change_the_hash(self, store):
        plain, turned = draft(), draft(created_at=CREATED_AT + timedelta(days=1))
        riverbend = turned.tenants["riverbend"]
        parameters = dataclasses.replace(
            riverbend.parameters, items=dict(reversed(list(riverbend.parameters.items.items())))
        )
        turned = dataclasses.replace(
            turned,
            tenants={
                "hilltop": turned.tenants["hilltop"],
                "riverbend": dataclasses.replace(riverbend, parameters=parameters),
            },
        )
        assert store.write(plain)[-16:] == store.write(turned)[-16:]

    def test_the_newest_bundle_is_the_latest(self, store):
        newest = store.write(draft(created_at=CREATED_AT + timedelta(milliseconds=1)))
        store.write(draft())
        assert store.latest_id() == newest

    def test_a_bundle_without_a_manifest_does_not_exist(self, store, url):
        complete = store.write(draft())
        begun = store.write(draft(created_at=CREATED_AT + timedelta(days=1)))
        files, root = fsspec.core.url_to_fs(url)
        files.rm(f"{root}/{begun}/manifest.json")
        assert store.latest_id() == complete
        with pytest.raises(BundleUnreadableError, match=r"manifest\.json: it is missing"):
            store.load(begun)

    def test_other_files_in_the_folder_are_not_bundles(self, store, url):
        bundle_id = store.write(draft())
        files, root = fsspec.core.url_to_fs(url)
        files.makedirs(f"{root}/zzz", exist_ok=True)
        files.pipe_file(f"{root}/zzz/manifest.json", b"{}")
        files.pipe_file(f"{root}/README", b"hello")
        assert store.latest_id() == bundle_id

    @pytest.mark.parametrize("damage", ["missing", "shorter", "flipped"])
    def test_damage_to_any_file_is_an_error_that_names_the_file(self, store, url, damage):
        bundle_id = store.write(draft())
        files, root = fsspec.core.url_to_fs(url)
        names = list(store.manifest(bundle_id)["content"]["files"])
        assert len(names) == 20
        for name in names:
            path = f"{root}/{bundle_id}/{name}"
            intact = files.cat_file(path)
            if damage == "missing":
                files.rm(path)
            elif damage == "shorter":
                files.pipe_file(path, intact[:-1])
            else:
                files.pipe_file(path, intact[:-2] + bytes([intact[-2] ^ 1]) + intact[-1:])
            problem = {"missing": "missing", "shorter": "bytes, .* were written", "flipped": "SHA-256"}[damage]
            with pytest.raises(BundleUnreadableError, match=f"{re.escape(name)}: .*{problem}"):
                store.load(bundle_id)
            files.pipe_file(path, intact)
        assert store.load(bundle_id).bundle_id == bundle_id

    @pytest.mark.parametrize(
        ("field", "value"),
        [("metrics", {"auc": 0.99}), ("counts", {"learners": 4}), ("hyperparameters", {"seed": 2.0})],
    )
    def test_a_changed_manifest_is_refused(self, store, url, field, value):
        bundle_id = store.write(draft())
        _edit_manifest(url, bundle_id, lambda content: content["tenants"]["riverbend"].__setitem__(field, value))
        with pytest.raises(BundleUnreadableError, match=r"manifest\.json: its content does not match"):
            store.load(bundle_id)

    def test_a_manifest_of_another_format_is_an_error_with_the_remedy_to_train_again(self, store, url):
        bundle_id = store.write(draft())
        _edit_manifest(url, bundle_id, lambda content: content.__setitem__("format_version", 99))
        with pytest.raises(BundleUnreadableError, match=r"format version 99.*train again"):
            store.load(bundle_id)

    @pytest.mark.parametrize("payload", [b"", b"[]", b"null", b'{"content": 1}', b'{"content": {}}', b"\xff"])
    def test_an_invalid_manifest_is_refused(self, store, url, payload):
        bundle_id = store.write(draft())
        files, root = fsspec.core.url_to_fs(url)
        files.pipe_file(f"{root}/{bundle_id}/manifest.json", payload)
        with pytest.raises(BundleUnreadableError, match=r"manifest\.json"):
            store.load(bundle_id)

    def test_a_pickled_array_is_refused_even_with_a_matching_checksum(self, store, monkeypatch):
        buffer = io.BytesIO()
        np.save(buffer, np.array([_Tripwire()], dtype=object), allow_pickle=True)
        monkeypatch.setattr(bundle_models, "_npy", lambda _values: buffer.getvalue())
        bundle_id = store.write(draft())
        monkeypatch.undo()
        with pytest.raises(BundleUnreadableError, match=r"item_difficulties\.npy: it is not a plain \.npy array"):
            store.load(bundle_id)
        assert not _Tripwire.sprung

    def test_a_model_of_an_unknown_kind_is_an_error_that_lists_the_known_kinds(self, url):
        bundle_id = FsspecBundleStore(url, {}).write(draft())
        with pytest.raises(BundleUnreadableError, match="kind 'als'; this program knows none"):
            FsspecBundleStore(url, {}).load(bundle_id)

    @pytest.mark.parametrize("bundle_id", ["", "..", "../secrets", "x", "20260304T050607890Z-xyz"])
    def test_an_invalid_bundle_id_is_never_looked_up(self, store, bundle_id):
        with pytest.raises(BundleUnreadableError, match="is not the id of a bundle"):
            store.load(bundle_id)


def _edit_manifest(url, bundle_id, change):
    files, root = fsspec.core.url_to_fs(url)
    path = f"{root}/{bundle_id}/manifest.json"
    manifest = orjson.loads(files.cat_file(path))
    change(manifest["content"])
    files.pipe_file(path, orjson.dumps(manifest))
