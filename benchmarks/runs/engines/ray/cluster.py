"""A Ray cluster for the Ray engine: on this machine alone, or one that is there already."""

import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.records.provenance import ROOT, SOURCES
from benchmarks.runs.engines.local import cores
from benchmarks.runs.engines.protocol import EngineError
from benchmarks.runs.options import host_and_port
from benchmarks.system.stop import Stop

SECONDS_TO_CONNECT = 10
"""How long a cluster's head may take to accept a connection."""
SECONDS_TO_ANSWER = 60
"""How long it may take to say whether the token is right."""
INSTALL = 'pip install -e ".[ray]"'


def refuse_missing() -> None:
    """Refuse to go on without Ray.

    Raises:
        EngineError: with the command that installs it.
    """
    if importlib.util.find_spec("ray") is None:
        raise EngineError(f"engine ray needs Ray, which is not installed: {INSTALL}")


@contextmanager
def connected(address: str | None, show_logs: bool = False) -> Iterator[None]:
    """Within the block this process is a driver of the cluster at `address`, or of its own one.

    `show_logs`: whether what workers print, tracebacks too, is printed here.

    Raises:
        EngineError: if Ray is missing, there is no cluster, or it has another token.
    """
    refuse_missing()
    _set_environment(address)
    if address is not None:
        _refuse_unanswered(address)
    import ray

    if ray.is_initialized():
        raise EngineError("Ray is in use in this process already: call ray.shutdown() first")
    with tempfile.TemporaryDirectory() as folder, _handlers_kept():
        _copy_code(Path(folder))
        try:
            ray.init(
                address or "local",
                num_cpus=None if address else cores(),
                include_dashboard=None if address else False,
                log_to_driver=show_logs,
                logging_level=logging.ERROR,
                runtime_env={"working_dir": folder},
            )
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise EngineError(_no_connection(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _set_environment(address: str | None) -> None:
    """No telemetry, and a token; Ray reads this when it is imported.

    Raises:
        EngineError: if Ray was imported before without a token.
    """
    imported = "ray" in sys.modules
    if imported and os.environ.get("RAY_AUTH_MODE") != "token":
        raise EngineError("Ray is imported already, without a token: set RAY_AUTH_MODE=token first")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    # Tasks without a GPU see none, without a warning that this is so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    if address is None and not imported:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _refuse_unanswered(address: str) -> None:
    """Refuse an address where no Ray cluster answers, or one that has another token."""
    try:
        socket.create_connection(host_and_port(address), SECONDS_TO_CONNECT).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise EngineError(f"no Ray cluster answers at {address}: {reason}") from None
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=SECONDS_TO_ANSWER
        )
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"no Ray cluster answers at {address} within {SECONDS_TO_ANSWER} s"
        ) from None
    said = done.stdout + done.stderr
    if "authentication" in said.lower():
        raise EngineError(
            f"the Ray cluster at {address} has another token, or there is none here: put the "
            "head's into RAY_AUTH_TOKEN or ~/.ray/auth_token"
        )
    if done.returncode != 0:
        raise EngineError(f"what listens at {address} does not answer as a Ray cluster")


def _no_connection(address: str | None, error: BaseException) -> str:
    """Why there is no connection, in one line."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if address is None:
        return f"a local Ray cluster cannot be started: {reason}"
    return (
        f"no connection to the Ray cluster at {address}: {reason}. Is this machine a node of it? "
        f"ray start --address={address}"
    )


def _copy_code(folder: Path) -> None:
    """The suite's code without what lies beside it, for the nodes."""
    for name in SOURCES:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(place, folder / name)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts a handler of its own in the place of that for SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in Stop.SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
