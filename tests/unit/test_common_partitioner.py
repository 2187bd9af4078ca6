"""Records go to the partitions that other Kafka clients choose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as murmur2_of_kafka_python

from services.common.kafka.partitioner import murmur2, partition_of


# Hashes from the test of org.apache.kafka.common.utils.Utils.murmur2; Java's integers are signed.
@pytest.mark.parametrize(
    ("key", "java_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key, java_hash):
    assert murmur2(key) == java_hash % 2**32
    assert partition_of(key, 4) == java_hash % 2**31 % 4


@given(st.binary(max_size=200))
def test_the_hash_is_that_of_kafka_python(key):
    assert murmur2(key) == murmur2_of_kafka_python(key) % 2**32
