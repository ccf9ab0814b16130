"""Optimizers of a recipe: which block a module takes, which parameters follow which rule."""

import torch
from torch import nn

from benchmarks.training.recipes import PARTS, Block, Recipe, Rule, optimizer_names
from models.kernels.protocol import KernelNetwork
from models.recurrent.network import RecurrentNetwork


def training_kind(model: nn.Module) -> tuple[bool, bool]:
    """Whether a module's kernels are generated, and whether their source scales its gradients.

    Those of a foreign module are stored.
    """
    if isinstance(model, RecurrentNetwork):
        return model.generated, False
    if isinstance(model, KernelNetwork):
        return model.generated, model.kernels.scales_gradients
    return False, False


def kind_of(model: nn.Module, recipe: Recipe) -> str:
    """Which block of a recipe a module takes."""
    return recipe.kind(*training_kind(model))


def names(model: nn.Module, recipe: Recipe) -> str:
    """The optimizers of a module under a recipe, without their rates."""
    kind = kind_of(model, recipe)
    return optimizer_names(kind, recipe.as_dict()[kind])


def ruled(model: nn.Module, block: Block) -> list[tuple[Rule | Block, list[nn.Parameter]]]:
    """The trained parameters by rule: that of their part where it has one, else the block.

    A foreign `nn.Module` has no parts: the block is the rule of all of it.
    """
    by_part: dict[str | None, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = part_of(model, name)
        if part is not None and getattr(block, part) is None:
            part = None
        by_part.setdefault(part, []).append(parameter)
    rules: list[tuple[Rule | Block, list[nn.Parameter]]] = []
    if None in by_part:
        rules.append((block, by_part[None]))
    for part in PARTS:
        if part in by_part:
            rules.append((getattr(block, part), by_part[part]))
    return rules


def part_of(model: nn.Module, parameter: str) -> str | None:
    """The part that a parameter belongs to, of those that may have a separate rule."""
    if isinstance(model, RecurrentNetwork):
        return None if model.component_of(parameter) == "generator" else "backbone"
    if not isinstance(model, KernelNetwork):
        return None
    if not parameter.startswith("kernels."):
        return "backbone"
    return "embeddings" if model.component_of(parameter) == "embeddings" else None


def make_optimizer(
    parameters: list[nn.Parameter], rule: Rule | Block, device: torch.device
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or Adam, without weight decay: L2 is in the objective.

    The learning rate is a tensor, so that a change of it neither synchronises nor recompiles, and
    a captured step sees it.
    """
    rate = torch.tensor(rule.learning_rate, device=device)
    fused = all(parameter.is_floating_point() for parameter in parameters)  # not complex ones
    if rule.optimizer == "adam":
        capturable = device.type == "cuda"
        return torch.optim.Adam(
            parameters, lr=rate, betas=rule.betas, fused=fused, capturable=capturable
        )
    nesterov = rule.momentum > 0
    optimizer = torch.optim.SGD(
        parameters, lr=rate, momentum=rule.momentum, nesterov=nesterov, fused=fused
    )
    add_missing_momenta(optimizer)
    return optimizer


def add_missing_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Start the momenta of SGD at zero, which is what torch does at a parameter's first gradient.

    torch's fused SGD refuses parameters of which some have a momentum and others not yet: those
    whose first gradient comes late.
    """
    (group,) = optimizer.param_groups
    if not group.get("momentum"):
        return
    for parameter in group["params"]:
        state = optimizer.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Take a saved state (momenta, step counts), but keep the optimizer's own options.

    The learning rate stays on the device with them.

    Raises:
        ValueError: if it is the state of another kind of optimizer or of other parameters.
    """
    (own,), (saved_group,) = optimizer.param_groups, saved["param_groups"]
    if ("betas" in own) != ("betas" in saved_group):
        raise ValueError(f"its optimizer is not {type(optimizer).__name__}")
    options = {key: value for key, value in own.items() if key != "params"}
    optimizer.load_state_dict(saved)
    optimizer.param_groups[0].update(options)
    add_missing_momenta(optimizer)
