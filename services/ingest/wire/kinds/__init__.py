"""The kinds of events. A new one is a module here and in `domain/kinds`, and a line in the registry below."""

from __future__ import annotations

from typing import Any

from services.ingest.wire.kinds.assessment import ASSESSMENT
from services.ingest.wire.kinds.correction import CORRECTION
from services.ingest.wire.kinds.erasure import ERASURE
from services.ingest.wire.kinds.interaction import INTERACTION
from services.ingest.wire.kinds.kind import LoggedKind, SubmittedKind
from services.ingest.wire.kinds.preference import PREFERENCE

SUBMITTED_KINDS: tuple[SubmittedKind[Any, Any], ...] = (ASSESSMENT, INTERACTION, PREFERENCE, CORRECTION)
LOGGED_KINDS: tuple[LoggedKind[Any], ...] = (*(kind.logged for kind in SUBMITTED_KINDS), ERASURE)
