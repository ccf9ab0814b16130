"""Checkpoints: a file with its hash in front, written atomically; the last but one is kept too."""

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchmarks.system.files import keep_previous, write_atomically

CHECKPOINT_VERSION = 3


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or resumed; the message is one line for the user."""


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a checkpoint; the one that was there is kept as `previous`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    # One file, the hash in front: no moment at which one is new and the other old.
    write_content(path, hashlib.sha256(data).digest() + data)


def write_content(path: Path, content: bytes) -> None:
    """Write the bytes of a checkpoint's file; the one that was there is kept as `previous`.

    A damaged one is not kept: in the place of the last good one it would leave none.
    """
    if path.exists() and _is_whole(path.read_bytes()):
        keep_previous(path, previous(path))
    write_atomically(path, content)


def _is_whole(content: bytes) -> bool:
    return hashlib.sha256(content[32:]).digest() == content[:32]


def previous(path: Path) -> Path:
    """The path of the last checkpoint but one."""
    return path.with_name(f"{path.name}.previous")


def load_checkpoint(path: Path, device: str = "cpu") -> dict:
    """The content of a checkpoint, its hash checked before anything in it is read.

    Raises:
        CheckpointError: if the file is missing, damaged or no checkpoint of this version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: {error.strerror}") from None
    if not _is_whole(content):
        raise CheckpointError(f"checkpoint {path} is damaged (SHA-256 differs) or no checkpoint")
    try:
        state = torch.load(io.BytesIO(content[32:]), map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever a foreign file makes torch.load raise, it is no checkpoint
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {' '.join(str(error).split())[:200]}"
        ) from None
    version = state.get("version") if isinstance(state, dict) else None
    if isinstance(version, int) and version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has version {version}; this code reads {CHECKPOINT_VERSION}"
        )
    if not isinstance(state, dict) or not _is_complete(state):
        raise CheckpointError(f"checkpoint {path} is no checkpoint of this suite")
    return state


def _is_complete(state: dict) -> bool:
    parts = {"version": int, "identity": dict, "model": dict, "optimizers": list, "history": dict}
    return all(isinstance(state.get(key), kind) for key, kind in parts.items())


def load_newest(path: Path) -> tuple[dict | None, str | None]:
    """The state of a run's last checkpoint, or of the one before it and why the last is no use.

    The state is None where there is no checkpoint.

    Raises:
        CheckpointError: if there is a checkpoint and none can be read.
    """
    if not path.exists() and not previous(path).exists():
        return None, None
    try:
        return load_checkpoint(path), None
    except CheckpointError as error:
        if not previous(path).exists():
            raise CheckpointError(
                f"{error}; there is none before it: remove it to start again"
            ) from None
        return load_checkpoint(previous(path)), f"{error}; the one before it was used"


def unsaved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are not in a module's `state_dict`, by name."""
    saved = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in saved}


def buffer_shapes(model: nn.Module) -> dict[str, tuple[int, ...] | None]:
    """The shapes of a module's buffers by name; None for one that has none yet."""
    return {
        name: None if is_lazy(buffer) else tuple(buffer.shape)
        for name, buffer in model.named_buffers(remove_duplicate=False)
    }


def weights_of(model: nn.Module, built: dict[str, tuple[int, ...] | None] | None) -> dict:
    """What `load_weights` reads: a module's state.

    `built`: the `buffer_shapes` of a foreign module as it was built. Beside its state there are the
    buffers that the state lacks, and the names of those that were made or enlarged since.
    """
    if built is None:
        return {"model": model.state_dict(), "buffers": {}, "made": []}
    shapes = buffer_shapes(model)
    made = [name for name, shape in shapes.items() if name not in built or built[name] != shape]
    return {"model": model.state_dict(), "buffers": unsaved_buffers(model), "made": made}


def load_weights(model: nn.Module, state: dict) -> None:
    """Give a module the weights of a checkpoint, and the buffers that its `state_dict` lacks.

    Raises:
        RuntimeError, KeyError, AttributeError: if it does not have such weights or buffers.
    """
    buffers, made = state.get("buffers", {}), state.get("made", ())
    _make_buffers(model, {name: state["model"][name] for name in made if name in state["model"]})
    _make_buffers(model, buffers, persistent=False)
    model.load_state_dict(state["model"])
    own = dict(model.named_buffers())
    for name, value in buffers.items():
        own[name].copy_(value)


def _make_buffers(model: nn.Module, saved: dict[str, Tensor], persistent: bool = True) -> None:
    """Give a module the buffers that its first pass makes, and those that grow, in their shape."""
    shapes = buffer_shapes(model)
    device = next((p.device for p in model.parameters()), None)
    for name, value in saved.items():
        if name not in shapes or shapes[name] != tuple(value.shape):
            module, _, last = name.rpartition(".")
            owner = model.get_submodule(module)
            if name not in shapes:  # a plain attribute may stand where the buffer will be
                owner.__dict__.pop(last, None)
                owner.register_buffer(last, None, persistent)
            setattr(owner, last, torch.empty_like(value, device=device))


def differences(state: dict, identity: dict) -> dict:
    """What a checkpoint's identity says otherwise than a run's: by key, [checkpoint's, run's].

    The names of outputs are long, and the data set's hash tells them apart. Older checkpoints do
    not say how many threads there were.
    """
    saved = state["identity"]
    return {
        key: [saved.get(key), value]
        for key, value in identity.items()
        if saved.get(key) != value and key != "outputs" and (key != "threads" or key in saved)
    }
