"""The settings of commands: from the environment, and from a file for what the environment does not set."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from services.common.environment import wrong_settings
from services.recommender.settings import (
    BundleSettings,
    FoldSettings,
    RecommenderServerSettings,
    StatusSettings,
    TrainingSettings,
)

_S = TypeVar("_S", bound=BaseSettings)


class SettingsError(ValueError):
    """A setting is invalid."""


def bundle_settings(environment_file: Path | None = None) -> BundleSettings:
    """The settings of the log and the bundles. Raises SettingsError."""
    return _read(BundleSettings, environment_file)


def training_settings() -> TrainingSettings:
    """The settings of training. Raises SettingsError."""
    return _read(TrainingSettings, None)


def fold_settings(environment_file: Path) -> FoldSettings:
    """The settings of the log, the learners' states and the bundles. Raises SettingsError."""
    return _read(FoldSettings, environment_file)


def server_settings(environment_file: Path) -> RecommenderServerSettings:
    """The settings of a recommender server. Raises SettingsError."""
    return _read(RecommenderServerSettings, environment_file)


def status_settings(environment_file: Path) -> StatusSettings:
    """The settings of everything that `cairn status` looks at. Raises SettingsError."""
    return _read(StatusSettings, environment_file)


def _read(kind: type[_S], environment_file: Path | None) -> _S:
    try:
        return kind(_env_file=environment_file if environment_file and environment_file.is_file() else None)
    except ValidationError as error:
        raise SettingsError(wrong_settings(error)) from error
