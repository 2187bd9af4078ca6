"""Saving a fitted tagger in a folder: arrays and JSON, no pickle, every file with its checksum.

`manifest.json` has the format, the model card and the SHA-256 of the other files; it is written last, so a folder
without it has no tagger.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import scipy.sparse
from numpy.typing import NDArray

from services.catalog.tagging.contexts import ContextShares
from services.catalog.tagging.manifest import MANIFEST, TaggerUnusableError
from services.catalog.tagging.precision import PrecisionCurve, PrecisionLevel
from services.catalog.tagging.scores import Scorer
from services.catalog.tagging.stacking import AnyModel, Mean, Stacker, Weights
from services.catalog.tagging.tagger import AppliedCurve, ModelCard, SkillTagger
from services.catalog.tagging.trees import Trees
from services.catalog.tagging.vectors import TextVectors, Vectors, Vocabulary

FORMAT = "cairn-skill-tagger/3"
_ARRAYS = "arrays.npz"
_NAMES = "names.json"
_MATRICES = ("example_words", "example_pieces", "statement_words", "statement_pieces", "targets", "context_counts")


def save_tagger(tagger: SkillTagger, folder: Path) -> None:
    """Save a tagger; an existing one is replaced.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {_ARRAYS: _arrays_of(tagger), _NAMES: _names_of(tagger)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "format": FORMAT,
        "card": asdict(tagger.card),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    temporary = folder / f"{MANIFEST}.new"
    temporary.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    temporary.replace(folder / MANIFEST)


def load_tagger(folder: Path) -> SkillTagger:
    """Load what `save_tagger` wrote; it gives exactly the same suggestions as the saved tagger.

    Raises:
        TaggerUnusableError: when there is none, it is damaged, or another version wrote it.
    """
    remedy = "remove the folder and fit the tagger again"
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise TaggerUnusableError(f"{folder} has the format {manifest['format']!r}, not {FORMAT!r}: {remedy}")
        files = {name: (folder / name).read_bytes() for name in manifest["sha256"]}
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise TaggerUnusableError(f"{folder / name} is not the file that was saved: {remedy}")
        names = orjson.loads(files[_NAMES])
        with np.load(io.BytesIO(files[_ARRAYS]), allow_pickle=False) as arrays:
            return _tagger_of(names, arrays, _card_of(manifest["card"]))
    except OSError as error:
        raise TaggerUnusableError(f"there is no tagger in {folder}: {error}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TaggerUnusableError(f"the tagger in {folder} cannot be read ({error!r}): {remedy}") from error


def _arrays_of(tagger: SkillTagger) -> bytes:
    scorer, stacker = tagger.scorer, tagger.stacker
    words, pieces = tagger.vectors.vocabularies
    arrays: dict[str, NDArray[Any]] = {
        "word_weights": words.weights,
        "piece_weights": pieces.weights,
        "ridge": scorer.weights,
        "context_sizes": scorer.contexts.sizes,
        **_columns("weights", stacker.model.weights),
        **_columns("trees", stacker.model.trees),
        **_calibration("stacker", stacker),
    }
    if tagger.ranker:
        arrays |= _columns("ranker.weights", tagger.ranker.model) | _calibration("ranker", tagger.ranker)
    matrices = (
        scorer.examples.words,
        scorer.examples.pieces,
        scorer.statements.words,
        scorer.statements.pieces,
        scorer.targets,
        scorer.contexts.counts,
    )
    for name, matrix in zip(_MATRICES, matrices, strict=True):
        arrays |= {
            f"{name}.data": matrix.data,
            f"{name}.indices": matrix.indices,
            f"{name}.indptr": matrix.indptr,
            f"{name}.shape": np.asarray(matrix.shape),
        }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _columns(name: str, record: Weights | Trees) -> dict[str, NDArray[Any]]:
    return {f"{name}.{field.name}": np.asarray(getattr(record, field.name)) for field in fields(record)}


def _calibration(name: str, stacker: Stacker[Any]) -> dict[str, NDArray[Any]]:
    return {f"{name}.knots": stacker.knots, f"{name}.confidences": stacker.confidences}


def _names_of(tagger: SkillTagger) -> bytes:
    words, pieces = tagger.vectors.vocabularies
    contexts = tagger.scorer.contexts.names
    return orjson.dumps(
        {
            "skills": tagger.skills,
            "frameworks": tagger.frameworks,
            "words": words.terms,
            "pieces": pieces.terms,
            "contexts": contexts,
        }
    )


def _tagger_of(names: Mapping[str, list[str]], arrays: Mapping[str, NDArray[Any]], card: ModelCard) -> SkillTagger:
    example_words, example_pieces, statement_words, statement_pieces, targets, context_counts = (
        scipy.sparse.csr_matrix(
            (arrays[f"{name}.data"], arrays[f"{name}.indices"], arrays[f"{name}.indptr"]),
            shape=tuple(arrays[f"{name}.shape"]),
        )
        for name in _MATRICES
    )
    vectors = TextVectors.from_vocabularies(
        Vocabulary(tuple(names["words"]), arrays["word_weights"]),
        Vocabulary(tuple(names["pieces"]), arrays["piece_weights"]),
    )
    scorer = Scorer(
        Vectors(example_words, example_pieces),
        Vectors(statement_words, statement_pieces),
        targets,
        arrays["ridge"],
        ContextShares(tuple(names["contexts"]), context_counts, arrays["context_sizes"]),
    )
    trees = Trees(*(arrays[f"trees.{field.name}"] for field in fields(Trees)))
    stacker = _stacker_of("stacker", Mean(_weights_of("weights", arrays), trees), arrays)
    ranker = None
    if "ranker.knots" in arrays:
        ranker = _stacker_of("ranker", _weights_of("ranker.weights", arrays), arrays)
    return SkillTagger(names["skills"], names["frameworks"], vectors, scorer, stacker, ranker, card)


def _weights_of(name: str, arrays: Mapping[str, NDArray[Any]]) -> Weights:
    middle, spread, coefficients, intercept = (arrays[f"{name}.{field.name}"] for field in fields(Weights))
    return Weights(middle, spread, coefficients, float(intercept))


def _stacker_of(name: str, model: AnyModel, arrays: Mapping[str, NDArray[Any]]) -> Stacker[AnyModel]:
    return Stacker(model, arrays[f"{name}.knots"], arrays[f"{name}.confidences"])


def _card_of(values: dict[str, Any]) -> ModelCard:
    applied = tuple(AppliedCurve(**(one | {"curve": _curve_of(one["curve"])})) for one in values["applied"])
    return ModelCard(**(values | {"curve": _curve_of(values["curve"]), "applied": applied}))


def _curve_of(values: dict[str, Any]) -> PrecisionCurve:
    return PrecisionCurve(tuple(PrecisionLevel(**level) for level in values["levels"]))
