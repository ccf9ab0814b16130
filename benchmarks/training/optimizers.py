"""Optimizers of a recipe: which block a module takes, which of its parameters follow which rule, and their restored state."""

import torch
from torch import nn

from benchmarks.training.recipes import PARTS, Block, Recipe, Rule, optimizer_names
from models.kernels.protocol import KernelNetwork


def kind_of(model: nn.Module, recipe: Recipe) -> str:
    """Which block of a recipe a module takes: by its own `generated`, or stored where it has none."""
    scales = isinstance(model, KernelNetwork) and model.kernels.scales_gradients
    return recipe.kind(bool(getattr(model, "generated", False)), scales)


def names(model: nn.Module, recipe: Recipe) -> str:
    """The optimizers of a module under a recipe, without their rates."""
    kind = kind_of(model, recipe)
    return optimizer_names(kind, recipe.as_dict()[kind])


def ruled(model: nn.Module, block: Block) -> list[tuple[Rule | Block, list[nn.Parameter]]]:
    """The trained parameters by rule: the block's own, or that of the part they belong to, if it has one.

    A foreign `nn.Module` has no parts: all of it is under the block's.
    """
    parameters: dict[str | None, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = part_of(model, name) if isinstance(model, KernelNetwork) else None
        if parameter.requires_grad:
            parameters.setdefault(part if part and getattr(block, part) else None, []).append(
                parameter
            )
    return [
        (getattr(block, part) if part else block, parameters[part])
        for part in (None, *PARTS)
        if part in parameters
    ]


def part_of(model: KernelNetwork, parameter: str) -> str | None:
    """The part, of those that may have a rule of their own, to which a parameter belongs."""
    if not parameter.startswith("kernels."):
        return "backbone"
    return "embeddings" if model.component_of(parameter) == "embeddings" else None


def make_optimizer(
    parameters: list[nn.Parameter], rule: Rule | Block, device: torch.device
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or Adam. L2 is in the objective, so there is no weight decay here.

    The learning rate is a tensor: changing it neither synchronises nor recompiles, and a captured step sees it.
    """
    rate = torch.tensor(rule.learning_rate, device=device)
    if rule.optimizer == "adam":
        return torch.optim.Adam(
            parameters, lr=rate, betas=rule.betas, fused=True, capturable=device.type == "cuda"
        )
    return torch.optim.SGD(
        parameters, lr=rate, momentum=rule.momentum, nesterov=rule.momentum > 0, fused=True
    )


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Take a saved state (momenta, step counts) and keep the optimizer's own options, its learning rate on the device too.

    Raises:
        ValueError: if it is the state of another kind of optimizer or of other parameters.
    """
    (own,), (there,) = optimizer.param_groups, saved["param_groups"]
    if ("betas" in own) != ("betas" in there):
        raise ValueError(f"its optimizer is not {type(optimizer).__name__}")
    options = {key: value for key, value in own.items() if key != "params"}
    optimizer.load_state_dict(saved)
    optimizer.param_groups[0].update(options)
