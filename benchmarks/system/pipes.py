"""Output whose reader leaves: `train ... | head`, a program that keeps a log and dies."""

import errno
import io
import sys
from typing import Any

GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET)
"""Of a pipe, a terminal and a socket."""


class _Unread(io.FileIO):
    """A file that drops what nobody reads. A full disk is an error, as ever."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """A reader of stdout or stderr that leaves ends neither a run nor a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # a notebook's or a test's, which has no pipe
        stream.flush()
        raw = _Unread(stream.fileno(), "w", closefd=False)
        # `python -u` writes through: by lines is soon enough.
        lines = stream.line_buffering or stream.write_through or name == "stderr"
        kept = io.TextIOWrapper(
            io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=lines
        )
        setattr(sys, name, kept)
