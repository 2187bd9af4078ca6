"""Processes that tests and the laptop stack start."""

from __future__ import annotations

import subprocess
import sys

# A process with a busy channel starts children as `deploy.processes` does: statements run between fork and exec.
_PROGRAM = """
import deploy
import os, subprocess, threading
from concurrent import futures
import grpc

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Echo(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/echo/Echo")
done = threading.Event()

def keep_calling():
    while not done.wait(0.002):
        call(b"x", timeout=5)

callers = [threading.Thread(target=keep_calling) for _ in range(2)]
for caller in callers:
    caller.start()
codes = {subprocess.run([os.environ["CHILD"]], preexec_fn=lambda: None).returncode for _ in range(300)}
done.set()
for caller in callers:
    caller.join()
server.stop(0).wait()
print(sorted(codes))
"""


def test_no_child_of_a_process_with_a_busy_channel_aborts_before_it_begins():
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"CHILD": "/bin/true", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stdout == "[0]\n", ended.stderr[-2000:]
