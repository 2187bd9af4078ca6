"""What is broken, one guarantee at a time, and the narrowest test that must notice.

A patch is text that stands in a file exactly once, and what replaces it: small, so that it survives refactoring.
"""

from __future__ import annotations

from dataclasses import dataclass

_EVENT_SERVICE = "services/recommender/entrypoints/event_service.py"
_WORKER = "services/recommender/entrypoints/worker.py"
_FOLD_EVENTS = "services/recommender/application/state/fold_events.py"
_ASSIGNMENT = "services/recommender/application/state/assignment.py"
_EPOCHS = "services/recommender/application/state/epochs.py"
_FOLD = "services/recommender/domain/learner/fold.py"
_REDIS_STATES = "services/recommender/adapters/redis/states.py"
_REDIS_EPOCHS = "services/recommender/adapters/redis/epochs.py"
_MEMORY = "tests/adapters/memory_states.py"

_SIMULATION = "tests/simulation/test_schedules.py::test_whatever_happens_state_equals_a_clean_replay_and_work_goes_on"
_REDIS_SUITE = "tests/integration/test_learner_states_redis.py"
_COMPONENT = "tests/component/test_fold_events.py"
_UNIT_FOLD = "tests/unit/test_learner_fold.py"


@dataclass(frozen=True)
class Edit:
    """One replacement. `find` stands in the file exactly once."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutation:
    """One guarantee broken.

    Attributes:
        name: what the patch does.
        breaks: in a sentence, what goes wrong for whoever relies on the guarantee.
        edits: the patch.
        test: what must fail, as pytest names it.
        short: whether it is part of the short form, whose tests take seconds and start nothing.
        timeout_s: a test that still runs after this long has failed.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    test: str
    short: bool = False
    timeout_s: int = 100


MUTATIONS = (
    Mutation(
        "commit Kafka offsets before the state",
        "A worker that dies between the two has told everybody that it dealt with records that nobody holds.",
        (
            Edit(
                _EVENT_SERVICE,
                "            report = await self._fold.fold([one.batch for one in following])\n",
                "            if self._group is not None:\n"
                "                ends = {self._topic_partition(o.batch.partition): o.batch.next_offset "
                "for o in fetched}\n"
                "                await self._require_consumer().commit(ends)\n"
                "            report = await self._fold.fold([one.batch for one in following])\n",
            ),
        ),
        _SIMULATION,
    ),
    Mutation(
        "begin where Kafka says, not where the state is",
        "After Redis was set back, what lies between its position and Kafka's is lost for good.",
        (
            Edit(
                _ASSIGNMENT,
                "start = position if committed is None else min(position, committed)",
                "start = position if committed is None else committed",
            ),
        ),
        "tests/unit/test_starting_offset.py",
        short=True,
    ),
    Mutation(
        "no seek on assignment, and no check that records follow",
        "The consumer begins where its group committed, whatever the state holds.",
        (
            Edit(_EVENT_SERVICE, "            consumer.seek(topic_partition, start)\n", "            pass\n"),
            Edit(_EVENT_SERVICE, "        if fetched.first_offset != expected:\n", "        if False:\n"),
        ),
        _SIMULATION,
    ),
    Mutation(
        "swallow a refused commit",
        "A worker whose partition another one took goes on as if it had stored what it did not.",
        (
            Edit(
                _FOLD_EVENTS,
                "        await self._store.commit(commits)\n",
                "        try:\n"
                "            await self._store.commit(commits)\n"
                "        except CommitRefusedError:\n"
                "            pass\n",
            ),
        ),
        "tests/component/test_fold_refusals.py",
        short=True,
    ),
    Mutation(
        "swallow what a rebalance fails with",
        "A worker that could not take its partitions over runs on and reads nothing, or the wrong thing.",
        (Edit(_EVENT_SERVICE, "            self._listener_failure = error\n", "            pass\n"),),
        "tests/integration/test_worker.py::"
        "test_a_failure_in_a_rebalance_crashes_the_service_though_aiokafka_swallows_it",
        timeout_s=30,
    ),
    Mutation(
        "drop the offset filter",
        "What is read again after a crash is folded a second time, or counted as a duplicate that nobody sent.",
        (Edit(_FOLD, "            if offset <= stored.offset:\n", "            if offset < 0:\n"),),
        f"{_UNIT_FOLD}::test_records_at_or_below_the_stored_offset_are_not_folded_again",
        short=True,
    ),
    Mutation(
        "drop the learner's compare-and-set",
        "A worker that was held up overwrites what its successor stored.",
        (
            Edit(
                _REDIS_STATES,
                "if (redis.call('HGET', state, 'off') or '') ~= expected then return 0 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::"
        "test_a_commit_on_another_offset_than_the_stored_one_is_refused_and_writes_nothing",
    ),
    Mutation(
        "drop the position's compare-and-set",
        "Two workers on one partition count over each other, and the position may go back.",
        (
            Edit(
                _REDIS_STATES,
                "if (redis.call('HGET', KEYS[1], 'offset') or '') ~= ARGV[1] then return 0 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_positions_move_only_from_where_they_were_read",
    ),
    Mutation(
        "write before the arguments are checked",
        "Lua does not roll back: a refused commit leaves a state without its journal.",
        (
            Edit(
                _REDIS_STATES,
                "local state, journal, seen = KEYS[1], KEYS[2], KEYS[3]\n",
                "local state, journal, seen = KEYS[1], KEYS[2], KEYS[3]\n"
                "redis.call('HSET', state, 'blob', ARGV[3], 'off', ARGV[2])\n",
            ),
        ),
        f"{_REDIS_SUITE}::test_a_malformed_commit_writes_nothing",
    ),
    Mutation(
        "trust a learner kept in memory",
        "A worker that folded a learner before goes on from its own copy, though another one has moved it on.",
        (
            Edit(
                _REDIS_STATES,
                "                if (-1 if offset is None else int(offset)) != learner.offset:\n",
                "                if False:\n",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_a_reader_is_not_misled_by_what_it_keeps",
    ),
    Mutation(
        "move the position before the learners are stored",
        "A worker that dies between the two leaves records that nobody will read again.",
        (
            Edit(_FOLD_EVENTS, "        await self._store.commit(commits)\n", ""),
            Edit(
                _FOLD_EVENTS,
                "            self._furthest |= self.positions\n        return FoldReport(\n",
                "            self._furthest |= self.positions\n        await self._store.commit(commits)\n"
                "        return FoldReport(\n",
            ),
        ),
        f"{_COMPONENT}::test_a_crash_between_learners_and_position_loses_and_doubles_nothing",
        short=True,
    ),
    Mutation(
        "skip the dead-letter write",
        "A record that cannot be read disappears without a trace.",
        (Edit(_FOLD_EVENTS, "        letters = await self._write_dead_letters(batches)\n", "        letters = []\n"),),
        f"{_COMPONENT}::test_a_batch_is_applied_and_its_position_moves",
        short=True,
    ),
    Mutation(
        "ignore the duplicate window",
        "An event that a producer sent twice counts twice.",
        (Edit(_FOLD, "    start = max(0, len(window) - _SEEN_BYTES)\n", "    return False\n    start = 0\n"),),
        f"{_UNIT_FOLD}::test_a_duplicate_is_counted_not_folded_and_does_not_move_the_offset",
        short=True,
    ),
    Mutation(
        "round only when a batch is stored",
        "State depends on how records happened to be fetched, so that a replay gives other bytes.",
        (
            Edit(
                _FOLD,
                "        learners = np.frombuffer(bytearray().join([state.learner for state in self.states]), "
                "LEARNER_RECORD)\n",
                "        wide = [(name, 'f8' if LEARNER_RECORD[name] == np.float32 else LEARNER_RECORD[name]) "
                "for name in LEARNER_RECORD.names]\n"
                "        learners = np.frombuffer(bytearray().join([state.learner for state in self.states]), "
                "LEARNER_RECORD).astype(wide)\n",
            ),
            Edit(
                _FOLD,
                "        self.learners, self.skills = learners.tobytes(), skills.tobytes()\n",
                "        self.learners, self.skills = learners.astype(LEARNER_RECORD).tobytes(), skills.tobytes()\n",
            ),
        ),
        f"{_UNIT_FOLD}::test_any_batching_of_the_same_events_gives_the_same_bytes",
    ),
    Mutation(
        "do not look for lost data while idle",
        "Redis comes back without its last seconds, and nobody folds them again until the next event arrives.",
        (
            Edit(
                _WORKER,
                "            await self._check_nothing_lost(epoch)\n",
                "            pass\n",
            ),
        ),
        "tests/component/test_epoch_hand_over.py::"
        "test_a_worker_without_anything_new_to_read_notices_that_what_it_stored_was_lost",
    ),
    Mutation(
        "fold another log into an epoch",
        "A topic made anew under its name is read from offsets that mean nothing in it.",
        (Edit(_EPOCHS, "    if meta.log_identity == identity:\n        return\n", "    return\n"),),
        "tests/component/test_epochs.py::test_an_epoch_of_another_log_is_refused_with_what_differs_and_the_remedy",
    ),
    Mutation(
        "restore without looking at the checksum",
        "A damaged snapshot becomes what learners are taught by.",
        (
            Edit(
                "services/recommender/adapters/files/epoch_file.py",
                "if left < 0 or file.read() != checksum.digest():",
                "if left < 0:",
            ),
        ),
        "tests/component/test_epoch_snapshots.py::test_every_byte_of_a_snapshot_is_guarded",
    ),
    Mutation(
        "serve an epoch before it has reached the log's end",
        "After Redis lost its data, learners are answered from what has been folded so far as if it were all.",
        (
            Edit(
                _MEMORY,
                "        if not has_reached(self._require(epoch).end_positions, reached):\n",
                "        if False:\n",
            ),
            Edit(
                _WORKER,
                "        if not (positions.keys() >= ends.keys() and has_reached(ends, positions)):\n"
                "            return\n",
                "",
            ),
        ),
        _SIMULATION,
    ),
    Mutation(
        "look at an epoch's positions, and serve it later",
        "Redis loses its data in between, and learners are answered from nothing as if it were all.",
        (Edit(_REDIS_EPOCHS, "  if reached < offset then return 0 end\n", ""),),
        f"{_REDIS_SUITE}::TestRedisStates::test_an_epoch_is_not_served_before_its_end_is_reached",
    ),
    Mutation(
        "store for an epoch that was begun anew",
        "What was folded without knowing of a correction stands in an epoch that is served as if it knew.",
        (
            Edit(
                _REDIS_STATES,
                "if fold_id ~= '' and redis.call('HGET', KEYS[4], 'fold_id') ~= fold_id then return -1 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_nothing_is_stored_for_an_epoch_that_is_gone_or_was_begun_anew",
    ),
    Mutation(
        "leave the append-only file as a power cut left it",
        "Half a commit, cut off by one power cut, takes effect at a later start of Redis.",
        (Edit(_REDIS_EPOCHS, "                await self._client.bgrewriteaof()\n", "                pass\n"),),
        "tests/integration/test_append_only_file.py::"
        "test_half_a_commit_that_a_power_cut_left_is_not_carried_out_by_a_later_start",
    ),
    Mutation(
        "read positions before learners",
        "Learners that Redis loses in between are folded as new ones, from where the worker is.",
        (
            Edit(
                _REDIS_STATES,
                "self._connection.execute([*commands, *positions_commands]))\n",
                "self._connection.execute([*positions_commands, *commands]))\n"
                "        first_positions = [next(answers) for _ in partitions]\n",
            ),
            Edit(
                _REDIS_STATES,
                "        positions = {partition: int(value) for partition in partitions if (value := next(answers)) "
                "is not None}\n",
                "        positions = {p: int(value) for p, value in zip(partitions, first_positions, strict=True) "
                "if value is not None}\n",
            ),
        ),
        f"{_REDIS_SUITE}::test_a_read_during_which_redis_loses_everything_shows_that_the_position_is_gone",
    ),
)
