"""The whole system on one machine."""

import os

# Children are started by fork and exec from processes that also use gRPC. Its fork handlers are for children that go on
# without exec, and can abort the parent. Set before anything of this package imports gRPC, which reads it then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
