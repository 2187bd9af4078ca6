"""The whole system on one machine."""

import os

# Children are started by fork and exec from processes that also use gRPC, whose fork handlers are for children that go
# on without exec and can abort the parent. Read when gRPC is first imported, so it is set before anything of this package.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
