"""The baseline for gRPC servers: answers every call with the same bytes.

Run as a process: `python -m tests.benchmarks.echo_server REPLY_BYTES` prints `host:port` and serves until killed.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

METHOD = "/cairn.bench.Echo/Echo"


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self._answer) if handler_call_details.method == METHOD else None

    async def _answer(self, _request, _context):
        return self._reply


async def serve(reply_bytes: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(bytes(reply_bytes)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
