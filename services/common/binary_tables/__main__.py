"""`python -m services.common.binary_tables REQUEST` answers on standard output; REQUEST is a `Request` as JSON."""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from collections.abc import Iterator

from services.common.binary_tables.answers import Batch, Columns, End, RefusedError, Request

# Read when the library is imported: its own allocator reserves far more than it uses.
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"


def main() -> None:
    """Answer the request."""
    request = Request(**json.loads(sys.argv[1]))
    _limit(resource.RLIMIT_DATA, request.memory_bytes)
    _limit(resource.RLIMIT_CPU, request.cpu_s)
    _limit(resource.RLIMIT_CORE, 0)
    out = sys.stdout.buffer
    end = End()
    try:
        for answer in _answers(request):
            pickle.dump(answer, out, pickle.HIGHEST_PROTOCOL)
            out.flush()
    except RefusedError as error:
        end = End(refused=str(error))
    except MemoryError:
        end = End(refused=f"needs more than {request.memory_bytes >> 20} MiB of memory to read: save it as CSV")
    except ModuleNotFoundError as error:
        end = End(missing=error.name)
    except BrokenPipeError:
        # Nobody wants the rest; Python would write once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return
    pickle.dump(end, out, pickle.HIGHEST_PROTOCOL)
    out.flush()


def _answers(request: Request) -> Iterator[Columns | Batch]:
    if request.format == "parquet":
        from services.common.binary_tables.parquet import ParquetTable  # noqa: PLC0415 - each format has its library.

        table = ParquetTable(request)
        yield Columns(table.names)
        yield from table.batches(json.loads(sys.stdin.readline() or "[]"))
        return
    from services.common.binary_tables.workbooks import batches_of_sheet  # noqa: PLC0415 - as above.

    yield from batches_of_sheet(request)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
