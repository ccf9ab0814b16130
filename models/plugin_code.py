"""The code that a user's file is of, known by a hash.

    code_sha256(Path("my_models.py"))

It is the file and every module outside installed packages that it imports: by a statement or a
call with the name in quotes, wherever it stands, or in another way if the module, or a function or
class of it, is among its globals. Configurations that these name in quotes belong to it.
"""

import ast
import contextlib
import hashlib
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType

from models import registry

SUITE = Path(__file__).resolve().parents[1]
OWN_PACKAGES = (SUITE / "models", SUITE / "benchmarks")
DATA = {".json", ".toml", ".yaml", ".yml", ".ini", ".cfg"}
"""The suffixes of configurations, which decide what a model is as its code does."""


def root_and_name(file: Path) -> tuple[Path, str]:
    """The folder that must be on `sys.path`, and the module's name there."""
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def code_sha256(file: Path) -> str:
    """The hash of a file and the users' modules that it imports; its own where it imports none."""
    files = code_files(file)
    if files == [file]:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, path in sorted((root_and_name(path)[1], path) for path in files):
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
        root = root_and_name(path)[0]
        inner = [folder for folder in path.parents if folder.is_relative_to(root)]
        packages = [folder / "__init__.py" for folder in inner if folder != root]
        files += [package for package in packages if package not in files]
    own_root = root_and_name(file)[0]
    contents: dict[str, bytes] = {}
    for path in files:
        # A folder without `__init__.py` is a part of a name too, where it is beside the plugin.
        root = own_root if path.is_relative_to(own_root) else root_and_name(path)[0]
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
    root, name = root_and_name(file)
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
                path = file_of_module(value)
            else:
                path = loaded.get(getattr(value, "__module__", None) or "")
            if path is not None and is_users(path):
                yield path


def _files_of_modules() -> dict[str, Path]:
    """The files of the loaded modules, by name."""
    files = {name: file_of_module(module) for name, module in list(sys.modules.items())}
    return {name: file for name, file in files.items() if file is not None}


def file_of_module(module: ModuleType | None) -> Path | None:
    """Where a module was loaded from; None for one that is of no file."""
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
