"""Users' files that register models: imported as Python would, and known by the code they are of.

    load("my_models.py")

The folder of a plugin (or of the package that it is in) is on `sys.path`, so that it may import its
neighbours. Its identity is a hash of its file and of every module outside installed packages that
it imports: by a statement or a call with the name in quotes, wherever it stands, or in another way
if the module, or a function or class of it, is among its globals.
"""

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from models import registry

SUITE = Path(__file__).resolve().parents[1]
OWN_PACKAGES = (SUITE / "models", SUITE / "benchmarks")


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
        return there and self.sha256 == code_sha256(self.file)


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
    plugin = Plugin(file, code_sha256(file), [], [])
    try:
        _import(path, file)
    finally:
        plugin.models += [name for name in registry.PLUGIN_MODELS if name not in models]
        plugin.kernels += [name for name in registry.KERNELS if name not in kernels]
        if sys.exc_info()[0] is not None:
            _forget(plugin)
    if not plugin.models:
        raise registry.RegistryError(f"plugin {path!r} registered no model")
    plugin.sha256 = code_sha256(file)  # with what it imported in other ways than by a statement
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
            return code_sha256(Path(file).resolve())
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
    files = set(code_files(plugin.file))
    for name, module in list(sys.modules.items()):
        if _file_of_module(module) in files:
            del sys.modules[name]


def _root_and_name(file: Path) -> tuple[Path, str]:
    """The folder that must be on `sys.path`, and the module's name there."""
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _import(path: str, file: Path) -> ModuleType:
    root, name = _root_and_name(file)
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
    for other in [*module_files(file), *filter(Path.is_file, packages)]:
        if other == file or not other.is_relative_to(root):
            continue
        name = _root_and_name(other)[1]
        loaded = _file_of_module(sys.modules.get(name))
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
    if spec is not None and spec.origin is not None and not is_users(spec.origin):
        raise registry.RegistryError(
            f"plugin {path!r} has the name of an installed module; rename it"
        )


def told(error: BaseException) -> str:
    """An exception in one line, with the file and line of the user's code that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if is_users(frame.filename)]
    return f"{text} ({Path(users[-1].filename).name}, line {users[-1].lineno})" if users else text


# What code a plugin is


DATA = {".json", ".toml", ".yaml", ".yml", ".ini", ".cfg"}
"""The suffixes of configurations, which decide what a model is as its code does."""


def code_sha256(file: Path) -> str:
    """The hash of a file and the users' modules that it imports; its own where it imports none."""
    files = code_files(file)
    if files == [file]:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, path in sorted((_root_and_name(path)[1], path) for path in files):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def code_files(file: Path) -> list[Path]:
    """`module_files`, and the files of `DATA` in their folders that they name in quotes."""
    modules = module_files(file)
    return [*modules, *dict.fromkeys(chain.from_iterable(map(_named_data, modules)))]


def module_files(file: Path) -> list[Path]:
    """A file and all modules outside installed packages that it imports, directly or not."""
    found, waiting = [file], [file]
    loaded = _files_of_modules()
    while waiting:
        for other in _imports(waiting.pop(), loaded):
            if other not in found:
                found.append(other)
                waiting.append(other)
    return found


def bundle(file: Path) -> dict[str, bytes]:
    """A plugin's code for another machine: the files by their module's path, the plugin first."""
    files = code_files(file)
    for path in list(files):
        root = _root_and_name(path)[0]
        inner = [folder for folder in path.parents if folder.is_relative_to(root)]
        packages = [folder / "__init__.py" for folder in inner if folder != root]
        files += [package for package in packages if package not in files]
    own_root = _root_and_name(file)[0]
    contents: dict[str, bytes] = {}
    for path in files:
        # A folder without `__init__.py` is a part of a name too, where it is beside the plugin.
        root = own_root if path.is_relative_to(own_root) else _root_and_name(path)[0]
        name = path.relative_to(root).as_posix()
        if name in contents:
            raise registry.RegistryError(f"plugin {str(file)!r} imports two modules {name!r}")
        contents[name] = path.read_bytes()
    return contents


@dataclass(frozen=True)
class Mentions:
    """What a module names: files of `DATA`, and what it imports.

    Each import: leading dots, dotted name, member.
    """

    imports: tuple[tuple[int, str, str | None], ...]
    data: tuple[str, ...]


def _mentions(file: Path) -> Mentions:
    """Those of a file as it is now: it is read again only if it changed."""
    stat = file.stat()
    return _parsed(file, stat.st_mtime_ns, stat.st_size)


@cache
def _parsed(file: Path, changed: int, size: int) -> Mentions:
    """Nothing of what is no Python: importing it will say so. `changed`, `size`: its edition."""
    imports: list[tuple[int, str, str | None]] = []
    texts: list[str] = []
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                imports += [(0, alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imports += [(node.level, node.module or "", alias.name) for alias in node.names]
            elif isinstance(node, ast.Call) and (called := _called_module(node)):
                inner = called.lstrip(".")
                imports.append((len(called) - len(inner), inner, None))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    data = (text for text in texts if Path(text).suffix.lower() in DATA)
    return Mentions(tuple(imports), tuple(data))


def _imports(file: Path, loaded: dict[str, Path]) -> Iterator[Path]:
    """The users' modules that one file imports, at its top or anywhere in it."""
    root, name = _root_and_name(file)
    package = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
    for dots, dotted, member in _mentions(file).imports:
        base = package[: len(package) - dots + 1] if dots else []
        yield from _modules(root, base + (dotted.split(".") if dotted else []), member)
    yield from _at_run_time(file, loaded)


def _named_data(file: Path) -> Iterator[Path]:
    """The files of data whose names, relative to its folder, stand in a module."""
    for name in _mentions(file).data:
        with contextlib.suppress(OSError, ValueError):  # a text that can be no name
            place = (file.parent / name).resolve()
            if place.is_relative_to(file.parent) and place.is_file():
                yield place


def _called_module(node: ast.Call) -> str | None:
    """The module that a call imports by a name in quotes."""
    name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
    if name not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _modules(root: Path, parts: list[str], member: str | None) -> Iterator[Path]:
    """The files of a dotted name, and of its member if that is a module too."""
    for folder in [root, *map(Path, sys.path)]:
        places = [folder.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        if not all(_source(place) or place.is_dir() for place in places):
            continue
        if member is not None:
            places.append(folder.joinpath(*parts, member))
        files = [file for file in map(_source, places) if file is not None]
        if files:
            yield from filter(is_users, files)
            return


def _source(place: Path) -> Path | None:
    """The file of a module or package that would lie at `place`."""
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file.resolve()
    return None


def _at_run_time(file: Path, loaded: dict[str, Path]) -> Iterator[Path]:
    """The users' modules among the globals of a loaded one, however they were imported."""
    for name in [name for name, path in loaded.items() if path == file]:
        for value in list(vars(sys.modules[name]).values()):
            if isinstance(value, ModuleType):
                path = _file_of_module(value)
            else:
                path = loaded.get(getattr(value, "__module__", None) or "")
            if path is not None and is_users(path):
                yield path


def _files_of_modules() -> dict[str, Path]:
    """The files of the loaded modules, by name."""
    files = {name: _file_of_module(module) for name, module in list(sys.modules.items())}
    return {name: file for name, file in files.items() if file is not None}


def _file_of_module(module: ModuleType | None) -> Path | None:
    name = getattr(module, "__file__", None)
    return _resolved(name) if isinstance(name, str) else None


@cache
def _resolved(name: str) -> Path:
    """Thousands of modules are loaded, and asked for at every hash."""
    return Path(name).resolve()


def is_users(file: str | Path) -> bool:
    """Whether a Python file is neither installed nor Python's nor this suite's."""
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        return False
    path = path.resolve()
    return not any(path.is_relative_to(folder) for folder in (*_installed(), *OWN_PACKAGES))


@cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_paths()[name] for name in names]
    folders += [site.getusersitepackages(), *site.getsitepackages()]
    return tuple({Path(os.path.realpath(folder)) for folder in folders})
