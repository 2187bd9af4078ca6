"""Tools for developing and running Cairn: topics, the laptop stack, the contract checks, the evaluation."""

import os

# A child process of ours runs a few statements between fork and exec. There gRPC's fork handlers would start its
# threads again, and abort when the child's descriptors are closed: of 150 children of a process with a busy channel,
# two ended so. gRPC reads this when it is imported, so whoever starts processes imports `deploy` first.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
