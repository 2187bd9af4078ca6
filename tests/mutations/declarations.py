"""The mutations: each breaks one guarantee and names the narrowest test that must fail.

A patch is text that occurs exactly once in a file, and its replacement. It is small, so that it survives refactoring.
"""

from __future__ import annotations

from dataclasses import dataclass

_EVENT_SERVICE = "services/recommender/entrypoints/event_service.py"
_REPLAYS = "services/recommender/application/state/replays.py"
_REPARTITION = "services/common/kafka/repartition.py"
_OCCURRED = "services/recommender/domain/learner/occurred_order.py"
_LOG_CONSUMER = "services/recommender/entrypoints/log_consumer.py"
_WORKER = "services/recommender/entrypoints/worker.py"
_FOLD_EVENTS = "services/recommender/application/state/fold_events.py"
_ASSIGNMENT = "services/recommender/application/state/assignment.py"
_LOG_MARKS = "services/recommender/application/state/log_marks.py"
_ASSIGNED_LOG = "services/recommender/entrypoints/assigned_log.py"
_EPOCHS = "services/recommender/application/state/epochs.py"
_SEEN = "services/recommender/domain/learner/seen.py"
_LEARNER_WALK = "services/recommender/domain/learner/learner_walk.py"
_CORRECTIONS = "services/recommender/domain/learner/corrections.py"
_KERNEL = "services/recommender/domain/learner/kernel.py"
_SEEN_ENTRIES = "services/recommender/adapters/redis/seen_entries.py"
_STATE_DRAFT = "services/recommender/domain/learner/state_draft.py"
_REDIS_STATES = "services/recommender/adapters/redis/states.py"
_REDIS_QUARANTINE = "services/recommender/adapters/redis/quarantine.py"
_REDIS_EPOCHS = "services/recommender/adapters/redis/epochs.py"
_MEMORY = "tests/adapters/memory_states.py"

_SCHEDULES = "tests/simulation/test_schedules.py"
_SIMULATION = f"{_SCHEDULES}::test_state_equals_a_clean_replay_and_work_continues_after_any_faults"
_REDIS_SUITE = "tests/integration/test_learner_states_redis.py"
_COMPONENT = "tests/component/test_fold_events.py"
_FLOODS = "tests/component/test_common_grpc_floods.py"
_AUTHENTICATION = "services/common/rpc/authentication.py"
_TURNS = "tests/component/test_event_service_turns.py"
_UNIT_CORRECTIONS = "tests/unit/test_learner_corrections.py"
_UNIT_FOLD = "tests/unit/test_learner_fold.py"
_INGEST_REPEATS = "services/ingest/application/repeats.py"
_REPEATS = "tests/component/test_ingest_repeats.py"


@dataclass(frozen=True)
class Edit:
    """One replacement. `find` occurs exactly once in the file."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutation:
    """One broken guarantee.

    Attributes:
        name: what the patch does.
        breaks: one sentence that says what goes wrong without the guarantee.
        edits: the patch.
        test: the test that must fail, as a pytest node id.
        short: whether it belongs to the short run, whose tests take seconds and start no processes.
        timeout_s: seconds after which a test counts as failed.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    test: str
    short: bool = False
    timeout_s: int = 100


MUTATIONS = (
    Mutation(
        "let the time limit of Redis run while the loop is busy",
        "A server that computed for a second says that Redis did not answer, although its answer has come.",
        (
            Edit(
                "services/common/loop_time.py",
                "    async with asyncio.timeout(None) as limit:",
                "    async with asyncio.timeout(timeout_s) as limit:",
            ),
        ),
        "tests/unit/test_loop_time.py::test_an_answer_that_came_while_the_loop_was_busy_is_not_missing",
        short=True,
    ),
    Mutation(
        "write an import at once",
        "While a tenant imports 200,000 records, every other tenant's write waits for all of them.",
        (
            Edit(
                "services/catalog/application/import_catalog.py",
                "            if len(differing) == RECORDS_PER_PART:",
                "            if len(differing) == RECORDS_PER_PART * 1_000:",
            ),
        ),
        "tests/component/test_catalog_log_memory.py::"
        "test_a_long_import_is_written_in_parts_between_which_another_tenant_writes",
        short=True,
    ),
    Mutation(
        "give turns in the order in which they were asked for",
        "A tenant that asks for thousands of lists delays every other tenant until they are done.",
        (
            Edit(
                "services/common/turns.py",
                "        for tenant in sorted(self._waiting, key=self._of):",
                "        for tenant in list(self._waiting):",
            ),
        ),
        "tests/unit/test_turns.py::test_tenants_with_much_to_do_get_the_same_time_not_the_same_number_of_pieces",
        short=True,
    ),
    Mutation(
        "begin pieces of work while a call of another tenant reads what it needs",
        "Reading takes a call longer than a piece of a flood, so each of its steps waits for a piece.",
        (
            Edit(
                "services/common/turns.py",
                "        return any(self._of(other) <= self._of(tenant) for other in others)",
                "        return False",
            ),
        ),
        "tests/unit/test_turns.py::test_no_piece_of_another_tenant_begins_while_a_call_is_about_to_need_its_turn",
        short=True,
    ),
    Mutation(
        "let no call get ahead between two pieces of work",
        "A call needs several rounds to ask for its turn, and before each of them a piece of another tenant runs.",
        (Edit("services/common/turns.py", "_ROUNDS = 8\n", "_ROUNDS = 0\n"),),
        "tests/component/test_fair_turns.py::test_a_flood_of_batches_delays_another_tenants_list_by_the_one_that_is_being_ranked",
        timeout_s=60,
    ),
    Mutation(
        "give back no slot when a call is cancelled",
        "Callers that give up use up the slots of a process for good.",
        (
            Edit(
                _AUTHENTICATION,
                "        context.add_done_callback(release)",
                "        assert release",
            ),
        ),
        f"{_FLOODS}::test_a_call_that_is_cancelled_while_its_body_is_awaited_gives_its_slot_back",
        short=True,
    ),
    Mutation(
        "wait without limit for a body",
        "Calls whose bodies never come hold their slots until their callers give up.",
        (
            Edit(
                "services/common/rpc/bodies.py",
                "            async with asyncio.timeout(timeout_s):",
                "            async with asyncio.timeout(None):",
            ),
        ),
        f"{_FLOODS}::test_a_call_whose_body_does_not_come_ends_and_gives_its_slot_back",
        short=True,
    ),
    Mutation(
        "decode without counting",
        "A few kilobytes of gzip hold millions of messages, which block the process for seconds.",
        (
            Edit(
                "services/common/rpc/bodies.py",
                "            if method.request is not None and len(raw) > UNSCANNED_BYTES_MAX:",
                "            if method.request is not None and len(raw) > 2**40:",
            ),
        ),
        f"{_FLOODS}::test_millions_of_values_in_a_small_compressed_body_are_counted_and_refused",
        short=True,
    ),
    Mutation(
        "let no new health check take the place of an old one",
        "Checks whose bodies never come starve the probes of a process, which is then restarted.",
        (
            Edit(
                "services/common/rpc/open_calls.py",
                "                        oldest.reschedule(asyncio.get_running_loop().time())",
                "                        pass",
            ),
        ),
        f"{_FLOODS}::test_watches_and_checks_without_a_body_take_no_slots_and_starve_no_check",
        short=True,
    ),
    Mutation(
        "commit Kafka offsets before the state",
        "A worker that dies between the two has committed offsets of records that are stored nowhere.",
        (
            Edit(
                _EVENT_SERVICE,
                "            report = await self._fold.fold([one.batch for one in following])\n",
                "            if self._consumer.group is not None:\n"
                "                ends = {o.batch.partition: o.batch.next_offset for o in fetched}\n"
                "                await self._consumer.commit(ends)\n"
                "            report = await self._fold.fold([one.batch for one in following])\n",
            ),
        ),
        _SIMULATION,
    ),
    Mutation(
        "start at Kafka's offset instead of the state's position",
        "After Redis went back in time, the records between its position and Kafka's offset are lost for good.",
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
        "no seek on assignment, and no check for gaps",
        "The consumer starts where its group committed, regardless of the state.",
        (
            Edit(_ASSIGNED_LOG, "            self._consumer.seek(partition, start)\n", "            pass\n"),
            Edit(_ASSIGNED_LOG, "        if fetched.first_offset != expected:\n", "        if False:\n"),
        ),
        _SIMULATION,
    ),
    Mutation(
        "ignore a refused commit",
        "A worker that lost its partition continues as if it had stored its batch.",
        (
            Edit(
                _FOLD_EVENTS,
                "        await self._store.commit(commits, self._ahead(batches))\n",
                "        try:\n"
                "            await self._store.commit(commits, self._ahead(batches))\n"
                "        except CommitRefusedError:\n"
                "            pass\n",
            ),
        ),
        "tests/component/test_fold_refusals.py",
        short=True,
    ),
    Mutation(
        "ignore an error in a rebalance",
        "A worker that could not acquire its partitions keeps running and reads nothing, or the wrong records.",
        (Edit(_EVENT_SERVICE, "            self._listener_failure = error\n", "            pass\n"),),
        "tests/integration/test_worker.py::"
        "test_a_failure_in_a_rebalance_crashes_the_service_even_though_aiokafka_swallows_it",
        timeout_s=30,
    ),
    Mutation(
        "let a learner have any number of skills",
        "A sender that makes up skills makes each read and write of its learner slower, without a bound.",
        (Edit(_STATE_DRAFT, "                if self.skill_count >= MOST_SKILLS:\n", "                if False:\n"),),
        "tests/unit/test_many_skills.py::test_a_learner_keeps_the_first_2000_skills_and_learns_those_further_on",
        short=True,
    ),
    Mutation(
        "search the packed names of any number of skills",
        "Each event of a learner with many skills takes longer than the one before.",
        (Edit(_STATE_DRAFT, "_INDEXED_FROM = 128\n", "_INDEXED_FROM = 1_000_000\n"),),
        "tests/unit/test_many_skills.py::"
        "test_an_event_of_a_learner_with_2000_skills_costs_no_more_than_one_of_a_learner_with_20",
        short=True,
    ),
    Mutation(
        "fold on the event loop",
        "A worker that folds a large batch sends no heartbeats, and the group expels it.",
        (Edit(_FOLD_EVENTS, "_THREAD_FROM_COST = 20_000\n", "_THREAD_FROM_COST = 1 << 62\n"),),
        f"{_TURNS}::test_the_event_loop_goes_on_while_a_large_batch_is_folded",
        short=True,
    ),
    Mutation(
        "let no partition take turns",
        "One learner's backlog delays every other partition until it is folded.",
        (
            Edit(
                _LOG_CONSUMER,
                "        assigned = self.assignment if self._turns else ()\n",
                "        assigned: list[int] = []\n",
            ),
        ),
        f"{_TURNS}::test_a_learner_with_a_long_backlog_delays_other_partitions_by_two_batches_each",
        short=True,
    ),
    Mutation(
        "forget the records that did not fit into a batch",
        "The records that a batch left over are read from Kafka again, or not at all.",
        (
            Edit(
                _LOG_CONSUMER,
                "        self._held[partition] = [*records, *self._held.get(partition, ())]\n",
                "        pass\n",
            ),
        ),
        f"{_TURNS}::test_a_learner_with_a_long_backlog_delays_other_partitions_by_two_batches_each",
        short=True,
    ),
    Mutation(
        "drop the offset filter",
        "Records that are read again after a crash are folded twice, or counted as duplicates.",
        (Edit(_LEARNER_WALK, "            if offset <= stored.offset:\n", "            if offset < 0:\n"),),
        f"{_UNIT_FOLD}::test_records_at_or_below_the_stored_offset_are_not_folded_again",
        short=True,
    ),
    Mutation(
        "drop the learner's compare-and-set",
        "A delayed worker overwrites what its successor stored.",
        (
            Edit(
                _REDIS_STATES,
                "if (redis.call('HGET', state, 'off') or '') ~= expected then return 0 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_a_commit_based_on_another_offset_is_refused_and_writes_nothing",
    ),
    Mutation(
        "drop the position's compare-and-set",
        "Two workers on one partition overwrite each other's counts, and the position may go back.",
        (
            Edit(
                _REDIS_STATES,
                "if (redis.call('HGET', KEYS[1], 'offset') or '') ~= before then return 0 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_positions_move_only_from_the_value_that_was_read",
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
        "trust a cached learner",
        "A worker continues from its cached copy of a learner that another worker has updated.",
        (
            Edit(
                _REDIS_STATES,
                "                if _offset(next(answers), -1) != learner.offset:\n",
                "                if next(answers) is learner:\n",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_a_stale_cache_does_not_mislead_a_reader",
    ),
    Mutation(
        "move the position before the learners are stored",
        "A worker that dies between the two leaves records that are never read again.",
        (
            Edit(_FOLD_EVENTS, "        await self._store.commit(commits, self._ahead(batches))\n", ""),
            Edit(
                _FOLD_EVENTS,
                "            self._take(reached)\n        return FoldReport(\n",
                "            self._take(reached)\n        await self._store.commit(commits, self._ahead(batches))\n"
                "        return FoldReport(\n",
            ),
        ),
        f"{_COMPONENT}::test_a_crash_between_learners_and_position_loses_and_doubles_nothing",
        short=True,
    ),
    Mutation(
        "skip the dead-letter write",
        "A record that cannot be decoded disappears without a trace.",
        (Edit(_FOLD_EVENTS, "        letters = await self._write_dead_letters(batches)\n", "        letters = []\n"),),
        f"{_COMPONENT}::test_a_batch_is_applied_and_its_position_moves",
        short=True,
    ),
    Mutation(
        "ignore the duplicate window",
        "An event that a producer sent twice counts twice.",
        (Edit(_SEEN, "    if len(window) - start > _LONG_BYTES:\n", "    return False\n    if len(window):\n"),),
        f"{_UNIT_FOLD}::test_a_duplicate_is_counted_but_not_folded_and_does_not_move_the_offset",
        short=True,
    ),
    Mutation(
        "know after an erasure which ids came before it",
        "An event sent again after its learner was erased is a duplicate of one that nobody has any more.",
        (
            Edit(
                _LEARNER_WALK,
                "                self._begin(NEW_LEARNER)\n                window, contents,",
                "                held = self._window, self._contents\n"
                "                self._begin(NEW_LEARNER)\n"
                "                self._window, self._contents = held\n"
                "                window, contents,",
            ),
        ),
        f"{_SCHEDULES}::test_an_event_that_comes_again_after_an_erasure_is_a_new_one",
        short=True,
    ),
    Mutation(
        "take an event of another kind under a known id for a new one",
        "The id of an answer that a correction reuses is two events, and which of them counts depends on the batches.",
        (
            Edit(
                _LEARNER_WALK,
                "            if holds(window, fingerprint) or (",
                "            if (response and holds(window, fingerprint)) or (",
            ),
        ),
        f"{_SCHEDULES}::test_ids_that_cross_kinds_are_one_event_each",
        short=True,
    ),
    Mutation(
        "take other content under a known id for a duplicate",
        "An event that says something else than an earlier one of its id disappears without a trace.",
        (
            Edit(
                _LEARNER_WALK,
                "        elif known and CONTENT_UNKNOWN not in said and event.content not in said:\n",
                "        elif event.content == said:\n",
            ),
        ),
        f"{_UNIT_CORRECTIONS}::test_the_same_id_with_other_content_is_a_conflict_and_with_the_same_content_a_duplicate",
        short=True,
    ),
    Mutation(
        "ignore that an event revises",
        "A regrade sent as a revision is accepted and changes nothing.",
        (
            Edit(
                _LEARNER_WALK,
                "            if not (known and event.content == said[-1]):\n",
                "            if event.content == said:\n",
            ),
        ),
        f"{_UNIT_CORRECTIONS}::test_a_revision_acts_as_a_regrade_of_the_event_it_revises",
        short=True,
    ),
    Mutation(
        "know corrections ahead without the window of ids",
        "A replay applies a correction whose id was used before, which the live fold leaves out.",
        (
            Edit(
                _CORRECTIONS,
                "            if identity and holds(self._window, identity):\n",
                "            if identity in ():\n",
            ),
        ),
        f"{_UNIT_CORRECTIONS}::test_a_correction_that_reuses_the_id_of_an_answer_changes_nothing_live_or_replayed",
        short=True,
    ),
    Mutation(
        "let a correction of anything wait",
        "A replay calls a correction of a correction applied, which the live fold refuses.",
        (
            Edit(
                _CORRECTIONS,
                "        if not found.is_response:\n            return False\n",
                "        if not found.is_response:\n            return True\n",
            ),
        ),
        "tests/simulation/test_fold_logs.py::test_random_logs_give_the_same_bytes_in_any_batches_and_in_any_replay",
    ),
    Mutation(
        "train on outcomes that a revision replaced",
        "Models are fitted on scores that the platform took back.",
        (
            Edit(
                "services/recommender/domain/training/event_columns.py",
                "        for row in sorted([*self.corrections, *self.revisions]):\n",
                "        for row in sorted(self.corrections):\n",
            ),
        ),
        "tests/component/test_train_kinds.py::test_training_reads_random_logs_as_the_fold_does",
        short=True,
    ),
    Mutation(
        "count a conflict as any dead letter",
        "Conflicts are not told from records that cannot be decoded, and nobody counts them.",
        (Edit(_FOLD_EVENTS, "if letter.code == CONFLICT]\n", "if not letter]\n"),),
        f"{_COMPONENT}::test_a_conflict_is_counted_on_its_own_and_goes_to_the_dead_letters_unchanged",
        short=True,
    ),
    Mutation(
        "forget in Redis what events said",
        "After a restart an event that says something else than an earlier one of its id is a duplicate.",
        (
            Edit(
                _SEEN_ENTRIES,
                '    return table["fingerprint"].tobytes(), pack_contents(table["content"].tobytes())\n',
                '    return table["fingerprint"].tobytes(), b""\n',
            ),
        ),
        f"{_REDIS_SUITE}::test_what_events_said_is_kept_over_commits_of_any_number_of_events",
    ),
    Mutation(
        "take the time of the last record for the latest time",
        "An old response that arrives late makes a skill look unpractised for years.",
        (
            Edit(
                _KERNEL,
                "        skill.last_at_s = max(skill.last_at_s, event.at_s)\n",
                "        skill.last_at_s = event.at_s\n",
            ),
        ),
        f"{_UNIT_FOLD}::test_a_response_that_arrives_late_does_not_move_a_skills_latest_time_back",
        short=True,
    ),
    Mutation(
        "round only when a batch is stored",
        "State depends on how records were batched, so a replay gives other bytes.",
        (
            Edit(
                _STATE_DRAFT,
                "        learners = np.frombuffer(bytearray().join([state.learner for state in self.states]), "
                "LEARNER_RECORD)\n",
                "        wide = [(name, 'f8' if LEARNER_RECORD[name] == np.float32 else LEARNER_RECORD[name]) "
                "for name in LEARNER_RECORD.names]\n"
                "        learners = np.frombuffer(bytearray().join([state.learner for state in self.states]), "
                "LEARNER_RECORD).astype(wide)\n",
            ),
            Edit(
                _STATE_DRAFT,
                "        self.learners, self.skills = learners.tobytes(), skills.tobytes()\n",
                "        self.learners, self.skills = learners.astype(LEARNER_RECORD).tobytes(), skills.tobytes()\n",
            ),
        ),
        f"{_UNIT_FOLD}::test_any_batching_of_the_same_events_gives_the_same_bytes",
    ),
    Mutation(
        "do not check for lost data while idle",
        "Redis comes back without its last seconds, and they are not folded again until the next event arrives.",
        (
            Edit(
                _WORKER,
                "            await self._check_nothing_lost(epoch)\n",
                "            pass\n",
            ),
        ),
        "tests/component/test_epoch_hand_over.py::test_an_idle_worker_notices_that_its_stored_data_was_lost",
    ),
    Mutation(
        "fold another log into an epoch",
        "A recreated topic is read from offsets of the old one.",
        (Edit(_EPOCHS, "    if folded_from == identity:\n        return\n", "    return\n"),),
        "tests/component/test_epochs.py::test_an_epoch_of_another_log_is_refused_with_what_differs_and_the_remedy",
    ),
    Mutation(
        "restore without verifying the checksum",
        "A damaged snapshot determines what learners are recommended.",
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
        "serve an epoch before it has reached the end of the log",
        "After Redis lost its data, a partly folded epoch is served as if it were complete.",
        (
            Edit(
                _MEMORY,
                "        if not has_reached(self._require(epoch).end_positions, reached):\n",
                "        if False:\n",
            ),
            Edit(
                _WORKER,
                "        if not (positions.keys() >= ends.keys() and has_reached(ends, positions)):\n",
                "        if False:\n",
            ),
        ),
        _SIMULATION,
    ),
    Mutation(
        "compare only the end of the log with what was folded",
        "A log that lost records and grew past the position again with others is folded on; those are never applied.",
        (
            Edit(
                _LOG_MARKS,
                "        if found.get((partition, mark.offset), mark.fingerprint) != mark.fingerprint\n",
                "        if False\n",
            ),
        ),
        "tests/component/test_log_marks.py::test_a_log_that_grew_past_the_position_with_other_records_is_refused",
        short=True,
    ),
    Mutation(
        "compare only the last record with the log",
        "Records lost under others that were folded since are never missed: the position only shows those.",
        (Edit(_LOG_MARKS, "        return (*marks, last)[-_MOST:]\n", "        return (last,)\n"),),
        "tests/component/test_log_marks.py::test_records_lost_under_records_that_were_folded_since_are_noticed",
        short=True,
    ),
    Mutation(
        "replay a log without its beginning",
        "After retention deleted records, a replay silently builds an epoch that lacks them.",
        (Edit(_REPLAYS, "    _check_beginning(begins, current, identity)\n", ""),),
        "tests/component/test_lost_beginning.py::"
        "test_a_replay_of_a_log_without_its_beginning_is_refused_and_says_how_much_is_missing",
        short=True,
    ),
    Mutation(
        "replay a log without its end",
        "After the log lost its last records, a replay silently builds an epoch that lacks what the served one has.",
        (
            Edit(
                _REPLAYS,
                "await check_log_holds(log, current.epoch, identity, await store.progress(current.epoch), {})",
                "pass",
            ),
        ),
        "tests/component/test_lost_beginning.py::"
        "test_a_replay_of_a_log_that_lost_its_end_is_refused_unless_that_is_accepted",
        short=True,
    ),
    Mutation(
        "begin an epoch whose next records were deleted",
        "It ends the worker each time, so that the epoch that was built from what is left is never served.",
        (Edit(_WORKER, "                check_not_deleted(epoch, positions, beginnings)\n", ""),),
        "tests/component/test_lost_log_records.py::"
        "test_an_epoch_whose_next_records_were_deleted_is_ignored_once_another_was_folded_from_what_is_left",
        short=True,
    ),
    Mutation(
        "name a remedy for the oldest epoch",
        "The command that a refused worker names is refused too: an epoch of that number exists.",
        (Edit(_WORKER, "newest = new[max(new)]", "newest = new[min(new)]"),),
        "tests/component/test_lost_log_records.py::"
        "test_of_several_epochs_of_other_topics_the_newest_is_named_because_its_next_number_is_free",
        short=True,
    ),
    Mutation(
        "let a new epoch start where the log begins by then",
        "Records that were deleted after the epoch was begun are missing from it, and no message says so.",
        (
            Edit(
                _ASSIGNED_LOG,
                "on_assigned({one: self._task.begin_positions.get(one, 0) for one in assigned})",
                "on_assigned(beginnings)",
            ),
        ),
        "tests/component/test_lost_log_records.py::test_records_that_are_deleted_before_a_new_epoch_is_read_are_missed",
        short=True,
    ),
    Mutation(
        "switch to an epoch that lacks records",
        "An epoch that was folded from less than the one that is served replaces it, and learners lose their work.",
        (Edit(_REPLAYS, "        await _check_nothing_missing(store, meta)\n", "        pass\n"),),
        "tests/component/test_lost_beginning.py::"
        "test_an_epoch_that_lacks_records_of_one_partition_is_refused_unless_that_is_accepted",
        short=True,
    ),
    Mutation(
        "do not note how far learners may be ahead of the position",
        "A worker dies before it moves the position, the log loses those records, and learners keep what is in no log.",
        (
            Edit(
                _FOLD_EVENTS,
                "await self._store.commit(commits, self._ahead(batches))",
                "await self._store.commit(commits)",
            ),
        ),
        "tests/component/test_lost_log_records.py::"
        "test_records_that_were_stored_before_the_position_moved_are_missed_too",
        short=True,
    ),
    Mutation(
        "leave records on the partitions that they are on",
        "After partitions were added, a replay sends the records from before to the dead letters.",
        (Edit(_REPARTITION, "if record.key is None else partition_of(record.key, count)", "if count else 0"),),
        "tests/integration/test_repartition.py::"
        "test_records_from_before_an_increase_come_before_those_after_it_whole_and_on_the_right_partition",
    ),
    Mutation(
        "replace a log in which every record is on its partition",
        "The command, run without need, gives the log another id, and every process that uses it ends.",
        (
            Edit(
                _REPARTITION,
                "        if not moved and len(journal.records) == len(journal.ends):\n",
                "        if False:\n",
            ),
        ),
        "tests/integration/test_repartition.py::test_a_log_whose_records_are_all_on_their_partitions_is_left_alone",
    ),
    Mutation(
        "replace a log that somebody wrote to after it was copied",
        "Events that were acknowledged meanwhile are deleted with the topic.",
        (Edit(_REPARTITION, "    if ends != journal.ends:\n", "    if False:\n"),),
        "tests/integration/test_repartition.py::test_a_log_that_somebody_writes_to_is_left_alone",
    ),
    Mutation(
        "sort records by time across an erasure",
        "What a learner did before an erasure comes back after it.",
        (Edit(_OCCURRED, "            barriers, at_s = barriers + 1, 0\n", "            at_s = 0\n"),),
        "tests/unit/test_occurred_order.py::test_no_record_crosses_an_erasure",
        short=True,
    ),
    Mutation(
        "sort a revision by its own time",
        "It comes before what it revises, which then is a conflict with it.",
        (
            Edit(
                _OCCURRED, "            at_s = times[first]\n", "            at_s = _own_time(event) or times[first]\n"
            ),
        ),
        "tests/unit/test_occurred_order.py::test_a_repeat_and_a_revision_stay_behind_what_they_repeat_whatever_their_time",
        short=True,
    ),
    Mutation(
        "wait for records that the log lost before they were folded",
        "After an unclean leader election a rebuilt epoch is never served, until somebody restarts the worker.",
        (
            Edit(
                _WORKER,
                "            self._goals[meta.epoch] = asked_s, await self._still_there(ends)\n",
                "            pass\n",
            ),
        ),
        "tests/component/test_epoch_hand_over.py::"
        "test_an_epoch_is_served_although_the_log_lost_records_that_nobody_had_folded",
        short=True,
    ),
    Mutation(
        "do not compare the log while running",
        "A worker folds on in a log that lost records, until somebody restarts it.",
        (
            Edit(
                _ASSIGNED_LOG,
                "        try:\n            await self._compare()\n        except BrokerUnavailableError as error:\n",
                "        try:\n            pass\n        except BrokerUnavailableError as error:\n",
            ),
        ),
        "tests/component/test_lost_log_records.py::test_a_worker_notices_while_it_runs_that_the_log_lost_records",
        short=True,
    ),
    Mutation(
        "check an epoch's positions, and make it current in another step",
        "Redis loses its data in between, and an empty epoch is served as if it were complete.",
        (Edit(_REDIS_EPOCHS, "  if reached < offset then return 0 end\n", ""),),
        f"{_REDIS_SUITE}::TestRedisStates::test_an_epoch_is_not_served_before_it_has_reached_its_end",
    ),
    Mutation(
        "store in another epoch with the same number",
        "State that was folded without a correction ends up in an epoch that is served as if it included it.",
        (
            Edit(
                _REDIS_STATES,
                "if fold_id ~= '' and redis.call('HGET', KEYS[4], 'fold_id') ~= fold_id then return -1 end\n",
                "",
            ),
        ),
        f"{_REDIS_SUITE}::TestRedisStates::test_nothing_is_stored_for_an_epoch_that_is_gone_or_was_replaced",
    ),
    Mutation(
        "do not rewrite the append-only file after a power cut",
        "Half a commit, cut off by one power cut, takes effect at a later start of Redis.",
        (
            Edit(
                "services/recommender/adapters/redis/append_only_file.py",
                "                await self._client.bgrewriteaof()\n",
                "                pass\n",
            ),
        ),
        "tests/integration/test_append_only_file.py::"
        "test_a_commit_cut_off_by_a_power_cut_is_not_applied_at_a_later_start",
    ),
    Mutation(
        "read positions before learners",
        "Learners that Redis loses in between are folded as new ones from the worker's position.",
        (
            Edit(
                _REDIS_STATES,
                "self._connection.execute([*commands, *positions_commands], wrong_types=True))\n",
                "self._connection.execute([*positions_commands, *commands], wrong_types=True))\n"
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
    Mutation(
        "send a batch of a load as one request, whatever its size",
        "A load of long events ends at the first batch that the service finds too large.",
        (
            Edit(
                "services/ingest/adapters/grpc_publisher.py",
                "                if len(request.events) > 1:\n",
                "                if len(request.events) > len(submissions):\n",
            ),
        ),
        "tests/component/test_ingest_service.py::TestGrpcPublisher::"
        "test_what_is_too_large_for_one_request_is_sent_in_several",
        short=True,
    ),
    Mutation(
        "end a load at a row that no request may hold",
        "One row with an endless text or list ends the load of its file, each time it is tried.",
        (
            Edit(
                "services/ingest/adapters/grpc_publisher.py",
                "if too_large or _is_about_content(error):\n",
                "if too_large:\n",
            ),
        ),
        "tests/component/test_ingest_service.py::TestGrpcPublisher::"
        "test_a_row_that_no_request_may_hold_is_that_rows_problem_alone",
        short=True,
    ),
    Mutation(
        "let an assessment revise an event of any kind",
        "A revision of an interaction is answered as REVISED, and never takes effect.",
        (Edit(_INGEST_REPEATS, "event.revises and content.is_of_the_kind_of(earlier)", "event.revises"),),
        f"{_REPEATS}::test_an_assessment_cannot_revise_an_event_of_another_kind",
        short=True,
    ),
    Mutation(
        "tell repeats apart by the order of their skills, in ingest",
        "An export that lists the skills of an act in another order gives conflicts.",
        (
            Edit(
                "services/ingest/domain/kinds/assessment.py",
                '", ".join(map(repr, sorted(self.skills)))',
                '", ".join(map(repr, self.skills))',
            ),
        ),
        "tests/unit/test_ingest_repeats.py::test_the_order_of_skills_says_nothing",
        short=True,
    ),
    Mutation(
        "tell repeats apart by the order of their skills, in the fold",
        "An event that is sent again with its skills in another order goes to the dead letters.",
        (Edit("services/recommender/wire/events.py", "*sorted(skills)))", "*skills))"),),
        "tests/unit/test_recommender_wire.py::test_the_order_of_skills_and_one_that_is_named_twice_say_nothing",
        short=True,
    ),
    Mutation(
        "train on skills beyond a learner's limit",
        "Difficulties are fitted on evidence that the fold never uses.",
        (
            Edit(
                "services/recommender/domain/training/event_columns.py",
                "        self.builder.limit_skills(distinct, MOST_SKILLS)\n",
                "",
            ),
        ),
        "tests/component/test_train_kinds.py::test_training_and_folding_agree_on_the_skills_of_a_learner_with_too_many",
        short=True,
    ),
    Mutation(
        "keep the rejected rows of a file by its name alone",
        "The rejected rows of one file overwrite those of a file of the same name in another folder.",
        (
            Edit(
                "services/ingest/cli/load.py",
                "    if folder == os.getcwd():",
                "    if folder:",
            ),
        ),
        "tests/component/test_ingest_load_command.py::test_files_with_the_same_name_keep_their_own_rejected_rows",
        short=True,
    ),
    Mutation(
        "take a learner's id as it is spelled",
        "One learner has two histories, one for each way in which exports spell the name.",
        (Edit("services/common/auth/identity.py", "normalised_id(learner_id).encode()", "learner_id.encode()"),),
        "tests/component/test_recommender_server.py::"
        "test_every_form_of_a_learners_id_finds_the_learner_and_is_given_back",
        short=True,
    ),
    Mutation(
        "accept characters that nobody sees",
        "Two learners or events whose ids look the same are different ones.",
        (Edit("services/common/auth/identity.py", '    "Cf": "format character",\n', ""),),
        "tests/unit/test_ingest_validation.py::test_a_character_that_nobody_sees_is_refused_by_its_name",
        short=True,
    ),
    Mutation(
        "make keys that may do everything",
        "A key that a platform holds to send events can erase learners.",
        (
            Edit(
                "services/common/auth/tenant.py",
                "DEFAULT_SCOPES = frozenset({Scope.INGEST, Scope.RECOMMEND})\n",
                "DEFAULT_SCOPES = ALL_SCOPES\n",
            ),
        ),
        "tests/unit/test_keys_commands.py::"
        "test_a_key_with_scopes_has_those_and_one_without_may_not_erase_or_change_the_catalog",
        short=True,
    ),
    Mutation(
        "derive the same id for equal rows of a file",
        "Retakes and untimed repeats of a file collapse into the first.",
        (
            Edit(
                "services/ingest/domain/submission.py",
                'return (*details, "ordinal", str(submission.ordinal)) if submission.ordinal else details\n',
                "return details\n",
            ),
        ),
        "tests/component/test_natural_ids.py::test_every_row_counts_once_however_often_the_file_is_loaded",
        short=True,
    ),
    Mutation(
        "count a resumed file from where it continues",
        "Rows after an interruption get the ids of equal rows before it, and are lost.",
        (
            Edit(
                "services/ingest/cli/load.py",
                "                rows = with_ordinals(self.figures.watch(read))\n"
                "                rows = itertools.islice(rows, self.passed_over, None)\n",
                "                rows = self.figures.watch(read)\n"
                "                rows = with_ordinals(itertools.islice(rows, self.passed_over, None))\n",
            ),
        ),
        "tests/component/test_natural_ids.py::test_a_resumed_load_counts_the_rows_it_passes_over",
        short=True,
    ),
    Mutation(
        "give the former id to every row that shares it",
        "Rows that an earlier release lost stay lost when their file is loaded again.",
        (
            Edit(
                "services/ingest/domain/submission.py",
                "    if submission.former_id_taken or (not details and sent is submission):\n",
                "    if not details and sent is submission:\n",
            ),
        ),
        "tests/component/test_natural_ids.py::"
        "test_a_file_that_the_first_release_loaded_adds_what_was_lost_then_and_nothing_else",
        short=True,
    ),
    Mutation(
        "take a key that is not found for a destroyed one",
        "A lost or lagging topic of keys turns acknowledged events into erased ones.",
        (
            Edit(
                "services/recommender/entrypoints/record_decoding.py",
                " for record in sealed if self._is_missing(decryptor, record)}\n",
                " for record in sealed if False}\n",
            ),
            Edit(
                "services/common/encryption/keyring.py",
                "            return ERASED if key_id in self._erased else LOST\n",
                "            return ERASED\n",
            ),
        ),
        "tests/component/test_missing_keys.py::"
        "test_a_worker_pauses_while_keys_are_missing_and_goes_on_by_itself_when_they_are_back",
        short=True,
    ),
    Mutation(
        "say nothing when corrections cannot be read ahead for lack of keys",
        "A worker whose Kafka offsets are ahead waits for keys, and neither its health nor `cairn status` names them.",
        (
            Edit(
                _EVENT_SERVICE,
                "        if isinstance(self._interruption, KeysMissingError):\n            return True\n",
                "",
            ),
        ),
        "tests/component/test_missing_keys.py::"
        "test_a_worker_that_cannot_read_corrections_ahead_waits_for_keys_though_it_is_given_no_record",
        short=True,
    ),
    Mutation(
        "count records whose loss was accepted as erased",
        "Nobody can tell from the counts that records were lost.",
        (
            Edit(
                "services/recommender/entrypoints/record_decoding.py",
                "                    (batch.erased if value is ERASED else batch.lost).append(record.offset)\n",
                "                    batch.erased.append(record.offset)\n",
            ),
        ),
        f"{_SCHEDULES}::test_records_whose_keys_are_lost_count_as_lost_once_an_operator_accepts_that",
        short=True,
    ),
    Mutation(
        "let any erasure of a learner prove every key",
        "The lost key of a learner who came back after an erasure counts as destroyed.",
        (
            Edit(
                "services/common/encryption/erasure_evidence.py",
                " and self._uses[use].first < last\n",
                "\n",
            ),
        ),
        "tests/unit/test_erasure_evidence.py::"
        "test_an_erasure_before_every_use_of_a_key_proves_nothing_since_the_learner_came_back_with_it",
        short=True,
    ),
    Mutation(
        "accept any topic of keys",
        "A recreated topic of keys is noticed only when a record cannot be read, perhaps years later.",
        (
            Edit(
                "services/recommender/application/state/key_topic.py",
                "    if before is None or now.learners >= before.learners:\n",
                "    if before is None or now.learners >= 0:\n",
            ),
        ),
        "tests/component/test_missing_keys.py::test_a_topic_of_keys_that_lost_some_is_refused_with_the_remedy",
        short=True,
    ),
    Mutation(
        "acknowledge without looking at the topic of keys",
        "Ingest acknowledges events under keys that exist only in its memory.",
        (
            Edit(
                "services/ingest/adapters/kafka/log.py",
                "        await self._keys.confirm()\n",
                "",
            ),
        ),
        "tests/integration/test_lost_keys.py::"
        "test_ingest_acknowledges_nothing_while_it_cannot_be_found_out_whether_the_topic_is_the_same",
    ),
    Mutation(
        "forget the learner in an event's identity",
        "Of two learners with the same source and event id, the second is lost.",
        (
            Edit(
                "services/ingest/domain/submission.py",
                "        return EventIdentity(self.tenant, self.learner, self.source, self.event_id)\n",
                '        return EventIdentity(self.tenant, "", self.source, self.event_id)\n',
            ),
        ),
        f"{_REPEATS}::test_two_learners_with_the_same_source_and_id_are_two_events",
        short=True,
    ),
    Mutation(
        "take an event with other content for a copy",
        "A regraded answer changes nothing, and nobody hears of it.",
        (
            Edit(
                _INGEST_REPEATS,
                "        if earlier is not None and content.is_said_by(earlier):\n",
                "        if earlier is not None and not event.revises:\n",
            ),
        ),
        f"{_REPEATS}::test_another_content_in_a_later_request_is_a_conflict",
        short=True,
    ),
    Mutation(
        "leave the outcome out of an event's content",
        "A regrade is answered as unchanged.",
        (
            Edit(
                "services/ingest/domain/kinds/assessment.py",
                "str(int(folded(self.outcome) * _FRACTIONS))",
                '""',
            ),
        ),
        "tests/unit/test_ingest_repeats.py::"
        "test_every_field_that_the_log_keeps_is_part_of_the_content_and_is_named_when_it_differs",
        short=True,
    ),
    Mutation(
        "compare only with what the log has confirmed",
        "Two streams that send an id within milliseconds both have it taken for new.",
        (
            Edit(
                _INGEST_REPEATS,
                "        for identity, digest in comparison.digests.items():\n"
                "            self._digests[identity] = digest, comparison\n",
                "",
            ),
        ),
        f"{_REPEATS}::test_two_streams_that_send_an_identity_at_once_know_of_each_other",
        short=True,
    ),
    Mutation(
        "keep an event out of the log because it is remembered",
        "A log that was restored from a backup does not get back what it lost when platforms send it again.",
        (
            Edit(
                "services/ingest/application/publish.py",
                "        if outcome is not Outcome.DUPLICATE or said not in first_with:\n",
                "        if outcome is not Outcome.DUPLICATE:\n",
            ),
        ),
        f"{_REPEATS}::"
        "test_a_repeat_of_an_earlier_request_is_a_duplicate_and_is_written_so_that_a_log_that_lost_it_has_it",
        short=True,
    ),
    Mutation(
        "remember an erased learner's events that were on their way",
        "Digests of a forgotten learner stay in Redis for more than a year.",
        (
            Edit(
                "services/ingest/adapters/redis_recent_events.py",
                "  if not erased or tonumber(offset) > tonumber(erased) then\n",
                "  if true then\n",
            ),
        ),
        "tests/integration/test_recent_events_redis.py::TestRedisRecentEvents::"
        "test_an_event_before_the_erasure_is_not_added_after_it",
    ),
    Mutation(
        "repair a learner of an epoch by time in the order of the log",
        "A repair silently undoes what cairn replay --order occurred was run for, for one learner.",
        (
            Edit(
                "services/recommender/application/state/repair.py",
                "_Rebuilding(entry.since, passed, by_time_before)",
                "_Rebuilding(entry.since, passed)",
            ),
        ),
        "tests/component/test_quarantine.py::test_a_repair_keeps_the_order_by_time_that_an_epoch_was_replayed_in",
        short=True,
    ),
    Mutation(
        "move a position whatever the quarantine is by now",
        "Records of a learner who is released while a batch is folded are neither folded nor counted as missing.",
        (
            Edit(
                _FOLD_EVENTS,
                "                await self._store.advance(moves, skipped)\n",
                "                await self._store.advance(moves, None)\n",
            ),
        ),
        "tests/component/test_quarantine.py::test_a_learner_released_while_a_batch_is_folded_gets_the_batch_too",
        short=True,
    ),
    Mutation(
        "release a learner who got new records meanwhile",
        "Records between the end of the rebuilt state and the position are lost.",
        (
            Edit(
                _REDIS_QUARANTINE,
                "if not entry or string.match(entry, '^%d+ %d+ (%d+) ') ~= records then return 0 end\n",
                "if not entry then return 0 end\n",
            ),
        ),
        "tests/integration/test_quarantine_redis.py::TestRedisQuarantine::test_a_learner_with_new_records_is_not_released",
    ),
    Mutation(
        "rebuild a learner up to the end of the log",
        "Records after the position are in the state before the worker counts them.",
        (
            Edit(
                "services/recommender/application/state/repair.py",
                "        self._fold_before(key, learner, position)\n        conflicts",
                "        self._fold_before(key, learner, end)\n        conflicts",
            ),
        ),
        "tests/component/test_quarantine.py::test_records_that_the_worker_has_not_reached_are_left_to_it",
        short=True,
    ),
    Mutation(
        "fold a learner whose value has a wrong checksum",
        "A flipped bit that decodes becomes part of the learner's state for good.",
        (
            Edit(
                "services/recommender/adapters/redis/stored_values.py",
                "    if matches != bool(stored[0] & _SEALED):\n",
                "    if matches and not stored[0] & _SEALED:\n",
            ),
        ),
        "tests/unit/test_stored_values.py::test_every_flipped_bit_of_a_sealed_value_is_noticed",
        short=True,
    ),
    Mutation(
        "take a state without bytes for an erased learner's",
        "A value that was truncated to nothing makes the learner a new one, and everything known of them is gone.",
        (
            Edit(
                "services/recommender/adapters/redis/stored_values.py",
                "        if (not blob and entries) or checkpoint ==",
                "        if checkpoint ==",
            ),
        ),
        "tests/unit/test_stored_values.py::test_a_value_that_lost_all_its_bytes_is_no_erased_learner",
        short=True,
    ),
    Mutation(
        "leave an erased learner's damaged value where it is",
        "What was stored about a learner survives their erasure until somebody repairs them.",
        (Edit(_FOLD_EVENTS, "        await self._forget_erased(everything, skipped)\n", ""),),
        "tests/component/test_quarantine.py::test_an_erased_learner_leaves_nothing_behind_in_quarantine",
        short=True,
    ),
    Mutation(
        "wait for Redis for ever",
        "A connection that swallows everything holds up its worker until somebody restarts it.",
        (
            Edit(
                "services/recommender/adapters/redis/connection.py",
                "            async with loop_timeout(SILENCE_S):\n",
                "            async with loop_timeout(None):\n",
            ),
        ),
        "tests/integration/test_half_open_connections.py::"
        "test_commands_of_a_fold_fail_after_the_silence_and_then_succeed",
        timeout_s=40,
    ),
    Mutation(
        "begin the first epoch with the priors, whatever was served",
        "After Redis was lost, a trained system silently answers with default difficulties.",
        (
            Edit(
                "services/recommender/application/state/served_parameters.py",
                "        if served is None or served.topic != priors.topic:\n",
                "        if served is not None:\n            return priors\n"
                "        if served is None or served.topic != priors.topic:\n",
            ),
        ),
        "tests/component/test_served_parameters.py::test_the_first_epoch_after_a_loss_has_the_parameters_last_served",
        short=True,
    ),
    Mutation(
        "take every record on another partition for a mistake of its sender",
        "After partitions were added, events of a sender that knows of them become dead letters.",
        (
            Edit(
                _EVENT_SERVICE,
                "        await self._assigned_log.check_partitions(following)\n",
                "",
            ),
        ),
        "tests/component/test_lost_log_records.py::"
        "test_a_record_on_another_partition_is_dead_only_if_no_partitions_were_added",
        short=True,
    ),
    Mutation(
        "keep what was folded until garbage is collected",
        "One busy learner with many skills fills gigabytes of a worker's memory in seconds.",
        (Edit(_STATE_DRAFT, "        self.states.clear()\n", ""),),
        "tests/unit/test_learner_fold.py::test_a_fold_leaves_nothing_for_the_garbage_collector",
        short=True,
    ),
    Mutation(
        "call a skill mastered and due for review whenever the review feature counted",
        "A teacher reads that a skill is mastered that the learner keeps getting wrong.",
        (
            Edit(
                "services/recommender/domain/ranking/signals/review.py",
                "    if not estimates.mastered[due] or estimates.reviews[due] < evidence.thresholds.review_opens:\n",
                "    if np.isnan(estimates.days_since[due]):\n",
            ),
        ),
        "tests/unit/test_ranking_pipeline.py::"
        "test_a_review_is_a_reason_only_where_a_mastered_skill_is_due_after_a_known_time",
        short=True,
    ),
    Mutation(
        "count more right answers in a row than a state shows",
        "A teacher reads that the last answers were right although one of them was wrong.",
        (
            Edit(
                "services/recommender/domain/ranking/answer_record.py",
                "    room = answers.recent_failures * (1.0 + _PRECISION)",
                "    room = 0.25 * answers.recent_failures",
            ),
        ),
        "tests/unit/test_answer_record.py::test_no_more_answers_are_said_to_be_right_in_a_row_than_were",
        short=True,
    ),
    Mutation(
        "export the events of every tenant",
        "A tenant's export, and its list of untagged items, hold what learners of others did.",
        (
            Edit(
                "services/recommender/adapters/kafka/event_rows.py",
                "[record for record in part.records if _is_of(tenant, record.key)]",
                "list(part.records)",
            ),
        ),
        "tests/component/test_event_rows.py::"
        "test_an_export_has_only_the_tenant_s_own_records_and_loads_no_keys_of_others",
        short=True,
    ),
    Mutation(
        "train on every event with the skills of the current epoch",
        "Training fits what no epoch folds: events after the replay count with skills that they do not have there.",
        (
            Edit(
                "services/recommender/adapters/kafka/training_log.py",
                "restamp is None or record.offset >= restamp.before.get(record.partition, 0)",
                "restamp is None",
            ),
        ),
        "tests/component/test_restamp.py::test_training_reads_the_events_that_the_fold_of_the_epoch_decodes",
        short=True,
    ),
    Mutation(
        "acknowledge a message of Open edX's event bus that was not kept",
        "An answer is skipped when ingest is away while it is read.",
        (
            Edit(
                "services/ingest/entrypoints/message_agent.py",
                'cast("Stream[bytes]", stream).noack().events()',
                "stream.events()",
            ),
        ),
        "tests/integration/test_openedx_bus.py::test_a_message_that_ingest_did_not_take_is_taken_by_the_next_start",
    ),
    Mutation(
        "count a problem with several inputs and its inputs",
        "One act counts as several.",
        (
            Edit(
                "services/ingest/formats/openedx/problems.py",
                "        yield scored(problem, _outcome(payload, path), attempt)\n        return\n",
                "        yield scored(problem, _outcome(payload, path), attempt)\n",
            ),
        ),
        "tests/unit/test_openedx_tracking.py::test_an_answer_becomes_an_assessment_of_the_problem_by_the_users_number",
        short=True,
    ),
    Mutation(
        "regrade an answer of Open edX that was deleted",
        "What staff deleted counts.",
        (Edit("services/ingest/formats/openedx/changes.py", "acts.pop(at)", "acts[at]"),),
        "tests/unit/test_openedx_changes.py::test_a_new_grade_after_a_deletion_is_of_no_deleted_answer",
        short=True,
    ),
    Mutation(
        "void in files what the actor sent, whoever sent it",
        "A statement that was voided counts.",
        (
            Edit(
                "services/ingest/formats/xapi/voiding.py",
                "yield replace(row, submission=replace(row.submission, learner_id=target.learner_id))",
                "yield row",
            ),
        ),
        "tests/component/test_ingest_load_documents.py::test_voiding_reaches_the_learner_of_a_statement_in_any_file_of_the_load",
        short=True,
    ),
    Mutation(
        "take another statement under the id of one",
        "A statement changes after it was taken.",
        (
            Edit(
                "services/ingest/entrypoints/http/xapi.py",
                "    if known.statement.digest != taken.digest:\n        raise _conflict(taken.statement_id)\n",
                "",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_the_same_statement_again_is_a_repeat_and_another_one_a_conflict",
        short=True,
    ),
    Mutation(
        "take the valid statements of a batch with an invalid one",
        "Half of a batch is taken, and sent again.",
        (
            Edit(
                "services/ingest/entrypoints/http/xapi.py",
                "        if violations:\n            raise invalid_request(violations)\n        return [each",
                "        return [each",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_a_batch_is_taken_as_a_whole_or_not_at_all",
        short=True,
    ),
    Mutation(
        "void a statement of the learner who voids it",
        "A voided answer still counts.",
        (
            Edit(
                "services/ingest/entrypoints/http/xapi.py",
                'learner_id=learner_of(target["actor"])',
                "learner_id=new.row.submission.learner_id",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_voiding_corrects_the_event_of_the_learner_whose_statement_it_was",
        short=True,
    ),
    Mutation(
        "forget that a statement was voided before it came",
        "A voided answer counts when it comes late.",
        (
            Edit(
                "services/ingest/entrypoints/http/xapi.py",
                "    if not voided_by or not isinstance(new.row, Row):\n        return [new.row]\n",
                "    return [new.row]\n",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_voiding_before_its_target_corrects_it_once_it_comes",
        short=True,
    ),
    Mutation(
        "keep the names of people in statements",
        "Names are kept that nothing needs.",
        (
            Edit(
                "services/ingest/formats/xapi/kept.py",
                'if name != "name"}',
                "}",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_names_of_people_are_not_kept_and_those_of_activities_are",
        short=True,
    ),
    Mutation(
        "leave the statements of an erased learner",
        "An erased learner's statements can be asked for.",
        (
            Edit(
                "services/ingest/application/erase.py",
                "        await self._statements.forget(tenant, learner)\n",
                "",
            ),
        ),
        "tests/component/test_ingest_http_xapi.py::test_an_erased_learner_leaves_no_statement",
        short=True,
    ),
    Mutation(
        "count pairs of items on the learners whose outcomes they explain",
        "Pairs know the outcomes that they are fitted to: the success model trusts them, and predicts others worse.",
        (
            Edit(
                "services/recommender/models/tracing/success_table.py",
                "fit_item_pairs(others, difficulties)",
                "fit_item_pairs(table, difficulties)",
            ),
        ),
        "tests/unit/test_item_pairs.py::test_outcomes_without_any_pattern_teach_the_success_model_nothing",
        short=True,
    ),
    Mutation(
        "moderate the steps of earlier parameters by a millionth",
        "A replay with the parameters of an earlier release gives other states.",
        (Edit(_KERNEL, "moderation = constants[MODERATION]", "moderation = max(constants[MODERATION], 1e-6)"),),
        f"{_UNIT_FOLD}::test_the_kernel_computes_the_published_formulas_bit_for_bit",
    ),
    Mutation(
        "teach a little where there is no learning term",
        "A replay with the parameters of an earlier release gives other states.",
        (Edit(_KERNEL, "retention * mean + constants[LEARNING]", "retention * mean + constants[LEARNING] + 1e-6"),),
        f"{_UNIT_FOLD}::test_the_kernel_computes_the_published_formulas_bit_for_bit",
    ),
    Mutation(
        "load a recall model with negative weights",
        "A list can say that waiting, or failing, helps to remember.",
        (Edit("services/recommender/adapters/files/bundle_models.py", "if (found[1:] < 0.0).any():", "if False:"),),
        "tests/integration/test_bundle_store.py::TestBundlesInMemory"
        "::test_a_recall_model_that_could_rise_with_time_or_has_other_features_is_refused",
        short=True,
    ),
    Mutation(
        "propose prerequisites that form a cycle",
        "Whoever accepts all proposals gets an import that is refused.",
        (
            Edit(
                "services/recommender/domain/training/prerequisites.py",
                "elif edge not in kept and not _leads(second, first, requires):",
                "elif edge not in kept:",
            ),
        ),
        "tests/unit/test_prerequisites.py::test_proposals_close_no_cycle",
        short=True,
    ),
)
