"""Cases on a real Ray of two nodes; `test_ray.py` runs this file in a network of its own.

The nodes have one CPU each and the addresses 127.0.0.2 and 127.0.0.3. After each case the records
equal those of runs in one process without a break.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
ray = pytest.importorskip("ray")

from benchmarks.runs.engines import protocol  # noqa: E402
from benchmarks.runs.engines.protocol import EngineError  # noqa: E402
from benchmarks.runs.matrix import train  # noqa: E402
from models import plugins, registry  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.runs.engines.conftest import Told, numbers  # noqa: E402

HEAD, SECOND, PORT = "127.0.0.2", "127.0.0.3", 26379
ADDRESS = f"{HEAD}:{PORT}"
WANTED = {"models": ["quick"], "recipe": "epochs24", "seeds": [0, 1]}
ALONE = []
STATUSES = {"ok", "interrupted"}
HELPER = """
import os
import time
from pathlib import Path


def pause():
    # A node that comes late would let the other run end before a case has acted.
    here = Path(os.environ["RAY_CASES_BEGUN"])
    (here / str(os.getpid())).touch()
    deadline = time.monotonic() + 120
    while len(list(here.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise RuntimeError("the other run did not begin")
        time.sleep(0.01)
    time.sleep(0.02)
"""
PLUGIN = """
import torch
from models.registry import register_model
from slow_helper import pause


@register_model("quick")
class Quick(torch.nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, num_classes))

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            pause()
            if "driver" in __file__:
                raise RuntimeError("the driver's own file was used")
        return self.net(x)
"""


def loopback_up():
    """As `ip link set lo up` does; a new network has it down."""
    up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS


class Node:
    """`ray start` as a child in a session of its own, so that all its processes are known."""

    def __init__(self, folder, address, *options):
        command = [Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1"]
        command += [f"--node-ip-address={address}", "--object-store-memory=200000000", *options]
        log = (folder / f"{address}.log").open("w")
        self.process = subprocess.Popen(
            command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def send(self, number):
        """A signal to all processes of the node at once, as if the machine had stopped."""
        listed = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            pid, session = map(int, line.split())
            if session == self.process.pid:
                os.kill(pid, number)

    def end(self):
        """Nothing of it is left."""
        self.send(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def own_folder():
    """An option of a node. Two nodes that share a folder remove code under each other's feet."""
    short = tempfile.mkdtemp(prefix="ray")  # the paths of sockets have at most 107 bytes
    try:
        yield f"--temp-dir={short}"
    finally:
        shutil.rmtree(short)


@pytest.fixture(scope="session")
def temporary():
    """The head's own folder."""
    with own_folder() as option:
        yield option


@pytest.fixture(scope="session")
def head(tmp_path_factory, temporary):
    """The first node; gives a folder for logs."""
    loopback_up()
    folder = tmp_path_factory.mktemp("nodes")
    os.environ["RAY_CASES_BEGUN"] = str(folder / "begun")
    ports = ("--min-worker-port=26500", "--max-worker-port=26599")
    node = Node(
        folder, HEAD, "--head", f"--port={PORT}", "--include-dashboard=false", temporary, *ports
    )
    try:
        healthy = [Path(sys.executable).with_name("ray"), "health-check", f"--address={ADDRESS}"]
        while subprocess.run(healthy, capture_output=True).returncode:
            assert node.process.poll() is None, (folder / f"{HEAD}.log").read_text()
        yield folder
    finally:
        node.end()


@pytest.fixture
def second(head):
    """The second node, which a case may end."""
    ports = ("--min-worker-port=26600", "--max-worker-port=26699")
    with own_folder() as temporary:
        node = Node(head, SECOND, f"--address={ADDRESS}", temporary, *ports)
        try:
            yield node
        finally:
            node.end()


@pytest.fixture
def plugin(tmp_path, plugin):
    """In place of the usual one, of two files: runs wait for each other, then go on slowly."""
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "slow_helper.py").write_text(HELPER)
    file = folder / "slow_models.py"
    file.write_text(PLUGIN)
    registry.PLUGIN_MODELS.clear()
    plugins.LOADED.clear()
    for name in ("slow_models", "slow_helper"):
        sys.modules.pop(name, None)
    registry.load_plugin(str(file))
    return file


@pytest.fixture
def cluster(options, second, head):
    """Options of the engine on both nodes."""
    begun = head / "begun"
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir()
    return dataclasses.replace(options, engine="ray", ray_address=ADDRESS)


@pytest.fixture
def expected(options, plugin, tmp_path, monkeypatch):
    """The numbers of the wanted runs, made in this process without a break; once for all cases."""
    if ALONE:
        return ALONE
    alone = dataclasses.replace(options, results_dir=tmp_path / "a", checkpoint_dir=tmp_path / "b")
    with monkeypatch.context() as here:
        here.setattr(sys.modules["slow_models"], "__file__", "elsewhere")
        here.setattr(sys.modules["slow_models"], "pause", lambda: None)
        ALONE.extend(numbers(outcome.record) for outcome in train(**WANTED, options=alone))
    return ALONE


class Acts(Told):
    """Does something once, when every run has ended its third epoch."""

    def __init__(self, act):
        super().__init__()
        self.act, self.acted = act, False

    def epoch(self, run, entry, epochs):
        super().epoch(run, entry, epochs)
        third = {tuple(of) for event, *of in self.events if event.startswith("epoch 3/")}
        if len(third) == 2 and not self.acted:
            self.acted = True
            self.act()


def processes(title):
    """Those of Ray with this title, by which `ray::make` makes runs."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
    lines = [line.split(None, 1) for line in listed.splitlines()]
    return [int(pid) for pid, command in lines if command.startswith(f"ray::{title}")]


def agree(outcomes, expected, restarts):
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
    assert [numbers(outcome.record) for outcome in outcomes] == expected
    engines = [outcome.record["engine"] for outcome in outcomes]
    assert {engine["version"] for engine in engines} == {ray.__version__}
    assert sum(engine["restarts"] for engine in engines) == restarts
    commits = {outcome.record["code"]["commit"] for outcome in outcomes}
    assert commits == {protocol.code()["commit"]}
    return engines


def test_both_nodes_make_runs_of_a_plugin_that_travels(cluster, expected):
    told = Told()
    agree(train(**WANTED, options=cluster, progress=told), expected, restarts=0)
    begins = [number for number, event in enumerate(told.events) if event[0] == "begin"]
    ends = [number for number, event in enumerate(told.events) if event[0] == "ok"]
    assert max(begins) < min(ends)


def test_a_killed_worker(cluster, expected):
    told = Acts(lambda: os.kill(processes("make")[0], signal.SIGKILL))
    agree(train(**WANTED, options=cluster, progress=told), expected, restarts=1)
    assert [event for event, *_ in told.events].count("lost") == 1


def test_a_killed_node(cluster, expected, second):
    told = Acts(second.end)
    engines = agree(train(**WANTED, options=cluster, progress=told), expected, restarts=1)
    assert sorted(engine["nodes"] for engine in engines) == [1, 2]


def test_a_hung_node(cluster, expected, second):
    told = Acts(lambda: second.send(signal.SIGSTOP))
    engines = agree(train(**WANTED, options=cluster, progress=told), expected, restarts=1)
    assert sorted(engine["nodes"] for engine in engines) == [1, 2]


@pytest.mark.parametrize("killed", [None, "Flag"])
def test_stop_and_resume(killed, cluster, expected):
    """Also when what the runs ask whether to stop was killed just before.

    Until that is back, a run may end.
    """

    def act():
        for pid in processes(killed) if killed else ():
            os.kill(pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGTERM)

    told = Acts(act)
    stopped = train(**WANTED, options=cluster, progress=told)
    early = [outcome for outcome in stopped if outcome.status == "interrupted"]
    ends = [(outcome.status, outcome.reason) for outcome in stopped]
    assert len(early) == 2 or (killed and {status for status, _ in ends} <= STATUSES), ends
    for outcome in early:
        assert outcome.reason.startswith("stopped by SIGTERM in epoch")
        assert 3 <= len(outcome.record["history"]) < 24
    assert "lost" not in [event for event, *_ in told.events]
    agree(train(**WANTED, options=cluster), expected, restarts=0)


def test_a_killed_flag(cluster, expected):
    told = Acts(lambda: os.kill(processes("Flag")[0], signal.SIGKILL))
    agree(train(**WANTED, options=cluster, progress=told), expected, restarts=0)


def command_of(cluster, plugin):
    command = [sys.executable, "run_bench.py", "train", "quick", "--plugin", plugin]
    command += ["--recipe", "epochs24", "--seeds", "0-1", "--engine", "ray", "--compile", "off"]
    command += ["--ray-address", ADDRESS, "--threads", "1", "--precision", "fp32"]
    command += ["--deterministic", "--device", "cpu", "--results-dir", cluster.results_dir]
    return [*map(str, command), "--checkpoint-dir", str(cluster.checkpoint_dir)]


def test_a_killed_driver(cluster, expected, plugin):
    driver = subprocess.Popen(
        command_of(cluster, plugin), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    while "epoch 3/" not in driver.stdout.readline():
        assert driver.poll() is None
    driver.kill()
    driver.wait()
    while processes("make"):
        time.sleep(0.1)
    told = Told()
    agree(train(**WANTED, options=cluster, progress=told), expected, restarts=0)
    epochs = [event for event, *_ in told.events if event.startswith("epoch ")]
    assert len(epochs) < 48  # what was ended before was not made again


def test_a_wrong_token(cluster, plugin):
    environment = os.environ | {"RAY_AUTH_TOKEN": "f" * 64}
    done = subprocess.run(
        command_of(cluster, plugin), cwd=ROOT, env=environment, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1 and "token" in errors[0].lower()


def test_no_token(cluster, plugin):
    environment = {key: value for key, value in os.environ.items() if key != "RAY_AUTH_TOKEN"}
    environment["HOME"] = str(plugin.parent)  # where there is no token either
    done = subprocess.run(
        command_of(cluster, plugin), cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "or there is none here" in done.stderr, done.stderr


def test_nobody_answers(cluster, plugin):
    silent = dataclasses.replace(cluster, ray_address=f"{SECOND}:1")
    with pytest.raises(EngineError, match=f"no Ray cluster answers at {SECOND}:1: Connection"):
        train(**WANTED, options=silent)


def test_another_source(cluster, plugin, monkeypatch):
    made = protocol.code
    monkeypatch.setattr(protocol, "code", lambda: made() | {"source_sha256": "e" * 64})
    outcomes = train(**WANTED, options=cluster)
    assert [outcome.status for outcome in outcomes] == ["refused"] * 2
    assert "the code of this worker is" in outcomes[0].reason
