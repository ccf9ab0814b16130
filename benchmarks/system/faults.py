"""What went wrong in code that this suite calls, in one line: exception, message, file and line.

Models and kernel sources may be anybody's code, and so their errors may be of any type, raise in
`__str__`, or hold text that no file can.
"""

import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = (str(ROOT / "benchmarks") + os.sep, str(ROOT / "models") + os.sep)
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
"""The folders of installed code, by their names in `sysconfig`."""
LONGEST = 300
"""Characters of a message; the rest is cut."""


def one_line(text: str, longest: int = LONGEST) -> str:
    """The text in one line of printable characters, cut where it is too long."""
    words = " ".join(text.split())
    if len(words) > longest:
        words = f"{words[: longest - 3]}..."
    return "".join(map(_printable, words))


def _printable(character: str) -> str:
    """The character, or its escape: terminals obey control codes, and UTF-8 has no surrogates."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def portable(text: str) -> str:
    """The text without the machine's folders: `.` is the current one, `~` the user's."""
    for folder, short in ((os.getcwd(), "."), (os.path.expanduser("~"), "~")):
        if len(folder) > 1:
            text = re.sub(re.escape(folder) + r"(?![\w.-])", short, text)
    return text


def described(error: BaseException, longest: int = LONGEST) -> str:
    """`Type: message (file, line 3)` of an exception, in one line without the machine's folders.

    The place is the innermost one in the user's code; without any, the innermost of the suite.
    """
    cause = error.__cause__
    if isinstance(error, RuntimeError) and isinstance(cause, StopIteration):
        error = cause  # inside a generator Python makes a RuntimeError of it
    message = one_line(portable(message_of(error)), longest)
    text = ": ".join(part for part in (type(error).__name__, message) if part)
    where = place(error)
    return f"{one_line(text, longest)} ({where})" if where else one_line(text, longest)


def message_of(error: BaseException) -> str:
    """The message of an exception of any type."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the user's code too
        return "its message cannot be read"


def place(error: BaseException) -> str | None:
    """`file, line 3` of the innermost frame in the user's code, else in the suite's, or None."""
    frames = list(_frames(error))
    ours = [frame for frame in frames if _is_ours(frame[0])]
    chosen = [frame for frame in frames if _is_users(frame[0])] or ours
    if not chosen:
        return None
    file, line = chosen[-1]
    return one_line(f"{_shown(file)}, line {line}")


def is_users(error: BaseException) -> bool:
    """Whether it comes from code that is neither the suite's nor installed, or from its calls."""
    origins = [_is_users(file) for file, _ in _frames(error) if _is_users(file) or _is_ours(file)]
    return bool(origins) and origins[-1]


def is_fault(error: BaseException) -> bool:
    """Whether an exception is the failure of what was called, not an order to stop.

    A user's code may leave with SystemExit or an exception type that is no `Exception`.
    """
    if isinstance(error, KeyboardInterrupt):
        return False
    return isinstance(error, Exception | SystemExit) or is_users(error)


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each frame from the outermost on; of torch.compile, those it traced."""
    traceback = error.__traceback__
    while traceback is not None:
        yield _absolute(traceback.tb_frame.f_code.co_filename), traceback.tb_lineno
        traceback = traceback.tb_next
    for frame in getattr(error, "real_stack", None) or ():
        yield _absolute(frame.filename), frame.lineno or 0


def _absolute(file: str) -> str:
    return file if file.startswith("<") else os.path.abspath(file)


def _is_ours(file: str) -> bool:
    return file.startswith(SUITE) or file == str(ROOT / "run_bench.py")


def _is_users(file: str) -> bool:
    if file.startswith("<"):  # made by a program, but for what is typed into an interpreter
        return file.startswith(("<stdin>", "<ipython-input"))
    if _is_ours(file):
        return False
    if {"site-packages", "dist-packages"} & set(Path(file).parts) or "torchinductor" in file:
        return False
    return not file.startswith(_installed())


def _installed() -> tuple[str, ...]:
    folders = [sysconfig.get_path(name) + os.sep for name in LIBRARIES]
    generated = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return (*folders, *([os.path.abspath(generated) + os.sep] if generated else []))


def _shown(file: str) -> str:
    """The file relative to the suite, the current folder or `~`; elsewhere its name alone."""
    if file.startswith(SUITE):
        return Path(file).relative_to(ROOT).as_posix()
    for folder, prefix in ((os.getcwd(), ""), (os.path.expanduser("~"), "~/")):
        if len(folder) > 1 and file.startswith(folder + os.sep):
            return prefix + Path(file).relative_to(folder).as_posix()
    return os.path.basename(file)
