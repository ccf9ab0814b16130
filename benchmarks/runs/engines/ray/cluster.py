"""A connection to Ray: token authentication on, telemetry off, the suite's code sent along."""

import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.records.provenance import ROOT, SOURCES
from benchmarks.runs.engines.local import cores
from benchmarks.runs.engines.protocol import EngineError
from benchmarks.system.stop import Stop

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a run that asks for no GPU keeps what it sees
}
SECONDS_TO_ANSWER = 20
TOKEN = "is the token, RAY_AUTH_TOKEN or the file ~/.ray/auth_token, that of the cluster?"
EXTRA = 'pip install -e ".[ray]"'


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster at an address, or to one of this machine that is made for it.

    Raises:
        EngineError: if Ray is missing, nobody answers, or the token is another.
    """
    os.environ.update(ENVIRONMENT)  # Ray reads it when it is imported
    try:
        import ray
    except ImportError:
        raise EngineError(f"engine 'ray' needs Ray, which is not installed: {EXTRA}") from None
    if address is not None:
        _refuse_silence(address)
    elif "RAY_AUTH_TOKEN" not in os.environ:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as folder:
        _copy_code(Path(folder))
        handlers = {number: signal.getsignal(number) for number in Stop.SIGNALS}
        try:
            ray.init(
                address or "local",
                num_cpus=None if address else cores(),
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"working_dir": folder, "env_vars": ENVIRONMENT},
            )
        except Exception as error:
            shown = " ".join(str(error).split())[:200]
            hint = f"; {TOKEN}" if address else ""
            raise EngineError(f"no Ray at {address or 'this machine'}: {shown}{hint}") from error
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray has set its own, which ends the process
                signal.signal(number, handler)
        try:
            yield
        finally:
            ray.shutdown()


def _refuse_silence(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise EngineError(f"ray_address {address!r} is not allowed; it is HOST:PORT")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise EngineError(f"no Ray at {address}: {error.strerror or error}") from None


def _copy_code(folder: Path) -> None:
    """The suite's code, and nothing else that lies beside it."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
