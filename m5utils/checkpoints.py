"""What was trained, and what a killed training needs to go on, in files without code in them.

Knows the cache, modules, optimizers and safetensors. Must not know what is trained.
"""

import json
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from m5utils import paths


def trained_once(file: str, decided_by: dict[str, object], doing: str, train: Callable[[Path], None]) -> Path:
    """The file of a training, out of the cache where the same one was done before.

    Args:
        file: Its name, below a folder for its kind: "heads/aligned.safetensors".
        decided_by: All that decides the result, as JSON; torch's version is added.
        doing: "fitting heads", for the one who has to wait while another run does the same.
        train: Is given a folder and leaves the file there, whole or not at all.
    """
    kind, _, name = file.partition("/")
    key = paths.key_of(decided_by | {"torch": torch.__version__.partition("+")[0]})
    folder = paths.cache() / kind / key
    if not (folder / name).is_file():
        with paths.lock(folder / ".lock", f"{doing} into {folder.name}"):
            if not (folder / name).is_file():
                train(folder)
    return folder / name


def save(
    file: Path,
    modules: dict[str, nn.Module],
    about: dict[str, object],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write the state of modules and optimizer, and what JSON can hold about them, whole or not at all."""
    state = {
        f"{name}.{key}": value for name, part in modules.items() for key, value in part.state_dict().items()
    }
    for number, values in optimizer.state_dict()["state"].items() if optimizer else ():
        state |= {f"optimizer.{number}.{key}": value for key, value in values.items()}
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with paths.published(file) as part:
        metadata = {key: json.dumps(value) for key, value in about.items()}
        safetensors.torch.save_file(state, part, metadata=metadata)


def load(
    file: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, object] | None:
    """Put back what `save` wrote, and return what it said; None, and nothing changed, if there is no file."""
    if not file.is_file():
        return None
    with safetensors.safe_open(file, framework="pt") as stored:
        state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - it is no dict
        about = {key: json.loads(value) for key, value in (stored.metadata() or {}).items()}
    for name, part in modules.items():
        part.load_state_dict(
            {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        )
    if optimizer is not None:
        of_optimizer = optimizer.state_dict()
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".")
                of_optimizer["state"].setdefault(int(number), {})[name] = value
        optimizer.load_state_dict(of_optimizer)
    return about
