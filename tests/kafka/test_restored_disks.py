"""The disk of a Kafka is copied, destroyed and restored: the log, the learners' keys and the catalog are as before."""

from __future__ import annotations

import shutil

import pytest

from deploy.local.stack import BrokerKind, Stack, StackOptions
from tests.releases import record
from tests.releases.running import Running


@pytest.mark.timeout(900)
def test_a_copy_of_the_folder_that_a_stack_keeps_restores_everything_once_it_is_destroyed(tmp_path):
    options = StackOptions(tmp_path / "up", broker=BrokerKind.KAFKA)
    with Stack(options, lambda _component: None) as stack:
        facts = record.run(stack)
    shutil.copytree(options.data, tmp_path / "backup")
    shutil.rmtree(options.data)
    shutil.copytree(tmp_path / "backup", options.data)
    with Stack(options, lambda _component: None) as stack:
        # Redis keeps nothing, so a worker has folded the log again.
        running = Running(stack, facts["api_key"])
        (epoch,) = running.epochs()
        assert running.digest(epoch)["digest"] == facts["digest"]["digest"]
        assert {learner: running.responses(learner) for learner in facts["responses"]} == facts["responses"]
        assert running.recommended("learner-1").recommendations
