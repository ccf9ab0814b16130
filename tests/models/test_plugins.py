"""Plugins: imported as Python would, told apart by their code, refused in one line."""

import hashlib
import json
import pickle
import subprocess
import sys

import pytest
from torch import nn

from models import plugin_code, plugins, registry
from tests.conftest import ROOT

MODEL = """
from torch import nn
from models.registry import register_model

@register_model({name!r})
def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))
"""


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch, own_models):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if plugin_code.is_users(getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def write(folder, name, text):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_neighbours_dataclasses_annotations_and_pickles_work(tmp_path):
    write(tmp_path, "sizes_nearby.py", "WIDTH = 8")
    text = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from models.registry import register_model
from sizes_nearby import WIDTH

@dataclass
class Size:
    kind: ClassVar[str] = "square"
    width: int = WIDTH

class Net(nn.Linear):
    size = Size()

@register_model("nearby")
def build(num_classes: int) -> Net:
    return Net(Size().width, num_classes)
"""
    plugins.load(str(write(tmp_path, "nearby_plugin.py", text)))
    model = registry.build("nearby", 3)
    assert model.in_features == 8
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model) and again.size == model.size


def test_a_plugin_in_a_package_imports_its_siblings(tmp_path):
    write(tmp_path, "zoo_pkg/__init__.py", "")
    write(tmp_path, "zoo_pkg/layers.py", "from torch.nn import Linear as Layer")
    body = MODEL.format(name="in_package").replace("nn.Linear", "Layer")
    file = write(tmp_path, "zoo_pkg/nets.py", f"from .layers import Layer\n{body}")
    first = plugins.load(str(file)).sha256
    assert isinstance(registry.build("in_package")[1], nn.Linear)
    write(tmp_path, "zoo_pkg/layers.py", "from torch.nn import Linear as Layer  # edited")
    assert plugins.load(str(file)).sha256 != first


def test_a_folder_with_an_init_is_a_plugin(tmp_path):
    write(tmp_path, "zoo_folder/__init__.py", "from . import nets")
    write(tmp_path, "zoo_folder/nets.py", MODEL.format(name="in_folder"))
    assert plugins.load(str(tmp_path / "zoo_folder")).models == ["in_folder"]


def test_two_plugins_of_one_file_name(tmp_path):
    files = [write(tmp_path, f"{k}/same_nets.py", MODEL.format(name=f"same_{k}")) for k in "ab"]
    for file in files:
        plugins.load(str(file))
    names = {registry.get(f"same_{k}").builder.__module__ for k in "ab"}
    assert len(names) == 2 and all(name in sys.modules for name in names)
    assert plugins.sha256_of("same_a") != plugins.sha256_of("same_b")


@pytest.mark.parametrize("name", ["models.py", "benchmarks.py"])
def test_a_plugin_may_have_the_name_of_a_package_of_the_suite(tmp_path, name):
    plugins.load(str(write(tmp_path, name, MODEL.format(name="named"))))
    assert registry.build("named") is not None
    assert registry.build("wide_resnet10_1") is not None


def test_neighbours_of_one_name_in_two_folders_are_refused(tmp_path):
    for k in "ab":
        write(tmp_path, f"{k}/common_helper.py", f"K = {k!r}")
        text = f"import common_helper\n{MODEL.format(name=f'with_helper_{k}')}"
        write(tmp_path, f"{k}/nets_{k}.py", text)
    plugins.load(str(tmp_path / "a" / "nets_a.py"))
    with pytest.raises(registry.RegistryError, match=r"'common_helper' from .*; rename one"):
        plugins.load(str(tmp_path / "b" / "nets_b.py"))


def test_own_models_package_beside_the_suites(tmp_path):
    """The suite has a package `models` too: which of them is meant cannot be known."""
    write(tmp_path, "models/__init__.py", "")
    write(tmp_path, "models/resnet.py", "class ResNet18: pass")
    text = f"from models.resnet import ResNet18\n{MODEL.format(name='own')}"
    file = write(tmp_path, "their_nets.py", text)
    with pytest.raises(registry.RegistryError, match=r"'models.*rename one of them"):
        plugins.load(str(file))
    plugins.load(str(write(tmp_path, "plain_nets.py", MODEL.format(name="beside"))))


def test_the_hash_is_of_the_code_that_is_imported(tmp_path):
    helper = write(tmp_path, "far_helper.py", "X = 1")
    write(tmp_path, "near_helper.py", "def late():\n    import far_helper\n    return far_helper.X")
    write(tmp_path, "unrelated.py", "X = 1")
    file = write(tmp_path, "hashed_nets.py", f"import near_helper\n{MODEL.format(name='hashed')}")
    assert {f.name for f in plugin_code.code_files(file)} == {
        "hashed_nets.py",
        "near_helper.py",
        "far_helper.py",
    }
    first = plugins.load(str(file)).sha256
    assert plugins.load(str(file)).sha256 == first == plugins.sha256_of("hashed")
    write(tmp_path, "unrelated.py", "X = 2")
    assert plugins.load(str(file)).sha256 == first
    helper.write_text("X = 2", encoding="utf-8")
    assert plugins.load(str(file)).sha256 != first
    assert plugins.sha256_of("hashed") != first
    assert plugins.sha256_of("wide_resnet10_1") is None


@pytest.mark.parametrize(
    "line",
    [
        "help = importlib.import_module('dynamic' + '_helper')",
        "WIDTH = importlib.import_module('dynamic_helper').WIDTH",
        "WIDTH = import_module('dynamic_helper').WIDTH",
        "WIDTH = __import__('dynamic_helper').WIDTH",
    ],
)
def test_a_module_that_is_imported_by_name_is_in_the_hash(tmp_path, line):
    helper = write(tmp_path, "dynamic_helper.py", "WIDTH = 1")
    text = f"import importlib\nfrom importlib import import_module\n{line}\n"
    file = write(tmp_path, "dynamic_nets.py", text + MODEL.format(name="dynamic"))
    first = plugins.load(str(file)).sha256
    assert "dynamic_helper.py" in plugin_code.bundle(file)
    helper.write_text("WIDTH = 2", encoding="utf-8")
    assert plugins.load(str(file)).sha256 != first


def test_configurations_that_are_named_are_in_the_hash(tmp_path):
    """Also where the plugin and its configuration have one stem, and in a folder below."""
    text = """
import json
from pathlib import Path
HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "told_nets.json").read_text())
MORE = json.loads((HERE / "configs/more.json").read_text())
LOG = HERE / "told_nets.log"
OTHERS = "../outside.json", "absent.json", "a\\0.json", "x" * 10 + ".json"
"""
    own = write(tmp_path, "nets/told_nets.json", '{"width": 4}')
    more = write(tmp_path, "nets/configs/more.json", "{}")
    log = write(tmp_path, "nets/told_nets.log", "")
    write(tmp_path, "outside.json", "{}")
    file = write(tmp_path, "nets/told_nets.py", text + MODEL.format(name="told"))
    first = plugins.load(str(file)).sha256
    assert {f.name for f in plugin_code.code_files(file)} == {file.name, own.name, more.name}
    assert {"told_nets.json", "configs/more.json"} < set(plugin_code.bundle(file))
    log.write_text("a run", encoding="utf-8")
    assert plugins.load(str(file)).sha256 == first
    for place in (own, more):
        place.write_text('{"width": 6}', encoding="utf-8")
        now = plugins.load(str(file)).sha256
        assert now != first
        first = now


def test_the_hash_of_a_single_file_is_its_own_and_does_not_depend_on_its_place(tmp_path):
    text = MODEL.format(name="single")
    here, there = (write(tmp_path, f"{k}/single_net.py", text) for k in "ab")
    digest = hashlib.sha256(here.read_bytes()).hexdigest()
    assert plugin_code.code_sha256(here) == plugin_code.code_sha256(there) == digest


def test_an_edited_plugin_is_loaded_anew(tmp_path):
    text = MODEL.format(name="edited")
    file = write(tmp_path, "edited_nets.py", text)
    plugins.load(str(file))
    file.write_text(text.replace("3072, num_classes", "3072, 1 + num_classes"), encoding="utf-8")
    plugins.load(str(file))
    assert registry.build("edited", 4)[1].out_features == 5


def test_a_model_that_no_plugin_registered_has_a_hash_too():
    registry.register_model("by_hand")(lambda classes: nn.Linear(1, classes))
    here = ROOT / "tests" / "models" / "test_plugins.py"
    assert plugins.sha256_of("by_hand") == plugin_code.code_sha256(here)


WRONG = {
    "1 / 0": r"raised ZeroDivisionError: division by zero \(wrong_nets.py, line 1\)",
    "def f(:\n": "raised SyntaxError",
    "import nowhere_at_all": "raised ModuleNotFoundError: No module named 'nowhere_at_all'",
    "import sys; sys.exit('enough')": "ends the program: SystemExit: enough",
    "raise ValueError('two\\nlines')": "raised ValueError: two lines",
    "x = 1": "registered no model",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_in_a_line_and_leaves_nothing(tmp_path, text):
    file = write(tmp_path, "wrong_nets.py", f"{text}\n")
    with pytest.raises(registry.RegistryError, match=WRONG[text]) as raised:
        plugins.load(str(file))
    assert "\n" not in str(raised.value) and not registry.PLUGIN_MODELS
    file.write_text(MODEL.format(name="right"), encoding="utf-8")
    assert plugins.load(str(file)).models == ["right"]


def test_half_a_plugin_is_none(tmp_path):
    file = write(tmp_path, "half_nets.py", MODEL.format(name="half") + "\nraise KeyError('x')\n")
    with pytest.raises(registry.RegistryError, match=r"KeyError: 'x' \(half_nets.py, line 9\)"):
        plugins.load(str(file))
    assert not registry.PLUGIN_MODELS


def test_a_plugin_that_hides_an_installed_module_is_refused(tmp_path, monkeypatch):
    file = write(tmp_path, "sqlite3.py", MODEL.format(name="database"))
    monkeypatch.delitem(sys.modules, "sqlite3", raising=False)
    with pytest.raises(registry.RegistryError, match="name of an installed module"):
        plugins.load(str(file))


@pytest.mark.slow
def test_prints_do_not_disturb_json(tmp_path):
    text = "print('hello')\n" + MODEL.format(name="loud").replace(
        "    return", "    print('building')\n    return"
    )
    file = write(tmp_path, "loud_nets.py", text)
    command = [sys.executable, "run_bench.py", "cost", "loud", "--json", "--plugin", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["params"] == 30730
    assert "hello" in done.stderr and "building" in done.stderr
