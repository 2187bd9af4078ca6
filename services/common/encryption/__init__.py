"""Learners' values in the log, encrypted with a key per learner; destroying the key erases them.

AES-256-GCM: a value is 12 random bytes of nonce, then the ciphertext with its tag. The associated data is the record's
key, so a value moved to another learner cannot be decrypted. The record headers `cairn_enc` and `cairn_key_id` name the
algorithm and the key.

The data keys are on the compacted topic `cairn.learner-keys` as `LearnerDataKey`, each wrapped with its tenant's own
key. Several processes may create a key for one learner at the same time; **the first on the topic is the active one**.
Compaction keeps the last record, so a process that creates keys writes the active key again after any other
(`LearnerKeyring.overwritten`), with `counts` set: compaction may already have removed the first record. A null value
destroys the active key for good, even if a process that has not read the null yet writes the key again; the next new
key becomes active.
"""
