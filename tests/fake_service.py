"""A process that behaves like a service, for tests of the stack.

Arguments: `serve`, becomes ready; `fail`, prints a reason and exits; `hang`, never becomes ready; `ignore`, becomes
ready and ignores SIGTERM; `child`, becomes ready and has started its own child process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from services.common.process import announce, run_until_stopped
from services.common.rpc.server import GrpcServer, ServerOptions


async def serve(behaviour: str) -> None:
    server = GrpcServer(ServerOptions(os.environ["CAIRN_LISTEN"], drain_s=0), tenants=None)
    address = await server.start()
    if behaviour != "hang":
        await server.set_serving(serving=True)
    announce("fake", address, Path(os.environ["CAIRN_ADDRESS_FILE"]))
    if behaviour == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        await asyncio.Event().wait()
    if behaviour == "child":
        sleeper = await asyncio.create_subprocess_exec("sleep", "600")
        Path(os.environ["CAIRN_ADDRESS_FILE"]).with_name("grandchild.pid").write_text(str(sleeper.pid))
    await run_until_stopped([asyncio.Event().wait()])
    await server.stop()


if __name__ == "__main__":
    if sys.argv[1] == "fail":
        sys.exit("the tenants file is missing; create one with: cairn keys create")
    asyncio.run(serve(sys.argv[1]))
