"""Users' files that register models: imported as Python would, and known by the code they are of.

    load("my_models.py")

The folder of a plugin (or of the package that it is in) is on `sys.path`, so that it may import its
neighbours. Its identity is the hash of its code (`plugin_code`).
"""

import contextlib
import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from models import plugin_code, registry


@dataclass
class Plugin:
    """A loaded file: the hash of its code, and what it has registered."""

    file: Path
    sha256: str
    models: list[str]
    kernels: list[str]

    @property
    def whole(self) -> bool:
        """Whether all that it registered is still there, from the code that lies on the disk."""
        there = all(name in registry.PLUGIN_MODELS for name in self.models)
        return there and self.sha256 == plugin_code.code_sha256(self.file)


LOADED: dict[Path, Plugin] = {}


def load(path: str) -> Plugin:
    """Import a plugin, a file or a package's folder; one that has not changed is not run again.

    What it prints goes to stderr.

    Raises:
        RegistryError: if it is missing, raises (with file and line), registers nothing, or its
            imports are ambiguous.
    """
    file = _file_of(path)
    known = LOADED.get(file)
    if known is not None and known.whole:
        return known
    if known is not None:
        _forget(LOADED.pop(file))
    models, kernels = set(registry.PLUGIN_MODELS), set(registry.KERNELS)
    plugin = Plugin(file, plugin_code.code_sha256(file), [], [])
    try:
        _import(path, file)
    finally:
        plugin.models += [name for name in registry.PLUGIN_MODELS if name not in models]
        plugin.kernels += [name for name in registry.KERNELS if name not in kernels]
        if sys.exc_info()[0] is not None:
            _forget(plugin)
    if not plugin.models:
        raise registry.RegistryError(f"plugin {path!r} registered no model")
    # With what it imported in other ways than by a statement.
    plugin.sha256 = plugin_code.code_sha256(file)
    LOADED[file] = plugin
    return plugin


def has_file(model: str) -> bool:
    """Whether another process can have a model: it is built in, or a loaded file registered it."""
    spec = registry.get(model)
    files = LOADED.values()
    by_kernels = spec.builder is None and any(spec.kernels in file.kernels for file in files)
    return registry.is_built_in(model) or by_kernels or any(model in file.models for file in files)


def sha256_of(model: str) -> str | None:
    """The hash of the code that a model is of; None for the suite's own.

    That of a model which no plugin registered is of the file that its builder is in, or of the
    builder's own source in a notebook.
    """
    if registry.is_built_in(model):
        return None
    spec = registry.get(model)
    hashes = [
        plugin.sha256
        for plugin in LOADED.values()
        if model in plugin.models or (spec.builder is None and spec.kernels in plugin.kernels)
    ]
    return ",".join(sorted(hashes)) or _sha256_of_object(
        spec.builder or registry.KERNELS[spec.kernels].load()
    )


def _sha256_of_object(value: Any) -> str:
    try:
        file = inspect.getsourcefile(value)
        if file is not None and Path(file).is_file():
            return plugin_code.code_sha256(Path(file).resolve())
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = repr(value)  # typed in without a file: never the same twice
    return hashlib.sha256(source.encode()).hexdigest()


def _file_of(path: str) -> Path:
    file = Path(path).expanduser()
    if file.is_dir() and (file / "__init__.py").is_file():
        file = file / "__init__.py"
    if not file.is_file():
        raise registry.RegistryError(f"plugin {path!r} is not a file")
    if file.suffix != ".py":
        raise registry.RegistryError(f"plugin {path!r} is not a Python file (.py)")
    return file.resolve()


def _forget(plugin: Plugin) -> None:
    """Take back what a plugin registered, and its modules, before it is loaded anew."""
    for name in plugin.models:
        registry.PLUGIN_MODELS.pop(name, None)
    for name in plugin.kernels:
        registry.KERNELS.pop(name, None)
    files = set(plugin_code.code_files(plugin.file))
    for name, module in list(sys.modules.items()):
        if plugin_code.file_of_module(module) in files:
            del sys.modules[name]


def _import(path: str, file: Path) -> ModuleType:
    root, name = plugin_code.root_and_name(file)
    _refuse_ambiguous(path, file, root)
    _refuse_installed_name(path, name)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    taken = name in sys.modules  # by another plugin, or by a package of this suite
    if taken:
        name = f"{name}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _executed(name, file) if taken else importlib.import_module(name)
    except Exception as error:
        raise registry.RegistryError(f"plugin {path!r} raised {told(error)}") from error
    except SystemExit as error:
        raise registry.RegistryError(f"plugin {path!r} ends the program: {told(error)}") from error


def _executed(name: str, file: Path) -> ModuleType:
    """The module of a file under a name that is not its own."""
    folders = [str(file.parent)] if file.stem == "__init__" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _refuse_ambiguous(path: str, file: Path, root: Path) -> None:
    """Refuse a plugin whose neighbour has the name of a module that is loaded from elsewhere."""
    packages = [place / "__init__.py" for place in file.parents if place.is_relative_to(root)]
    for other in [*plugin_code.module_files(file), *filter(Path.is_file, packages)]:
        if other == file or not other.is_relative_to(root):
            continue
        name = plugin_code.root_and_name(other)[1]
        loaded = plugin_code.file_of_module(sys.modules.get(name))
        if loaded is not None and loaded != other:
            raise registry.RegistryError(
                f"plugin {path!r} imports {name!r} from {other}, but {loaded} is loaded under that "
                "name; rename one of them"
            )


def _refuse_installed_name(path: str, name: str) -> None:
    """Refuse a file that would hide an installed module from all others."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name.split(".")[0])
    if spec is not None and spec.origin is not None and not plugin_code.is_users(spec.origin):
        raise registry.RegistryError(
            f"plugin {path!r} has the name of an installed module; rename it"
        )


def told(error: BaseException) -> str:
    """An exception in one line, with the file and line of the user's code that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if plugin_code.is_users(frame.filename)]
    return f"{text} ({Path(users[-1].filename).name}, line {users[-1].lineno})" if users else text
