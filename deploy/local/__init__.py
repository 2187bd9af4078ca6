"""The whole system on one machine."""

import os

# This package starts children by fork and exec from processes that also use gRPC. gRPC's fork handlers are meant for
# children without exec, and can abort the parent. gRPC reads this variable when it is imported, so set it first.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
