"""Kernel sources against a literal reading of the paper, their initialisation, their hand-over."""

import numpy as np
import pytest
import torch

from models import registry
from models.kernels import scaling
from models.kernels.basis import BasisKernels
from models.kernels.chunked import ChunkedKernels
from models.kernels.hashed import HashedKernels
from models.kernels.hyper import HyperKernels
from models.kernels.multihash import MultihashKernels
from models.kernels.protocol import Factored, check_kernels, convolve, dense
from models.kernels.separable import SeparableKernels
from models.kernels.shared import SharedKernels
from models.kernels.stage_template import StageTemplateKernels
from models.kernels.stored import StoredKernels
from models.kernels.subspace import SubspaceKernels
from models.kernels.template import TemplateKernels
from models.kernels.tucker import TuckerKernels
from models.ledger import kernel_shapes

SHAPES = kernel_shapes(16, (16, 32, 64))
SOURCES = [entry.load() for entry in registry.KERNELS.values()]


def literal_kernel(source: HyperKernels, layer: int) -> np.ndarray:
    """Equations 2 and 3, one tile and one input channel at a time, in float64."""
    shape, n = source.shapes[layer], 16
    first = sum((s.in_channels // n) * (s.out_channels // n) for s in source.shapes[:layer])
    w_in, b_in, w_out, b_out, z_all = (
        getattr(source, name).detach().double().numpy()
        for name in ("w_in", "b_in", "w_out", "b_out", "embeddings")
    )
    kernel = np.zeros((shape.out_channels, shape.in_channels, 3, 3))
    rows, columns = shape.in_channels // n, shape.out_channels // n
    for row in range(rows):
        for column in range(columns):
            z = z_all[first + row * columns + column]
            for i in range(n):
                a = w_in[i] @ z / 64**0.5 + b_in[i]
                slice_ = (w_out @ a / 64**0.5 + b_out).reshape(n, 3, 3) * (2 / shape.fan_in) ** 0.5
                kernel[column * n : (column + 1) * n, row * n + i] = slice_
    return kernel


def laid_out(shapes, tile_of) -> list[np.ndarray]:
    """Kernels from tiles (input channel, output channel, f, f) in float64, row by row."""
    kernels, number, n = [], 0, 16
    for shape in shapes:
        kernel = np.zeros((shape.out_channels, shape.in_channels, 3, 3))
        for row in range(shape.in_channels // n):
            for column in range(shape.out_channels // n):
                tile = tile_of(number) * (2 / shape.fan_in) ** 0.5
                for i in range(n):
                    for o in range(n):
                        kernel[column * n + o, row * n + i] = tile[i, o]
                number += 1
        kernels.append(kernel)
    return kernels


def parameters_of(source) -> dict[str, np.ndarray]:
    return {
        name: value.detach().double().numpy()
        for name, value in [*source.named_parameters(), *source.named_buffers()]
    }


def literal_template(source):
    p = parameters_of(source)
    return laid_out(
        SHAPES,
        lambda t: (
            sum(a * b for a, b in zip(p["coefficients"][t], p["bank"], strict=True)).reshape(
                16, 16, 3, 3
            )
            / 32**0.5
        ),
    )


def literal_subspace(source):
    p = parameters_of(source)
    columns = p["basis"].reshape(len(p["basis"]), -1).T
    return laid_out(
        SHAPES, lambda t: (columns @ p["coefficients"][t]).reshape(16, 16, 3, 3) / 390**0.5
    )


def literal_chunked(source):
    p = parameters_of(source)
    own = [s for s in SHAPES for _ in range((s.in_channels // 16) * (s.out_channels // 16))]

    def tile(t):
        hidden = np.maximum(
            0, p["w1"] @ p["embeddings"][t] / 4 + p["b1"]
        )  # sqrt(2 / 32) is a quarter
        out = (p["w2"] @ hidden / 37**0.5 + p["b2"]).reshape(16, 16, 3, 3)
        return out * p["scale"][t, 0, 0] / (2 / own[t].fan_in) ** 0.5

    return laid_out(SHAPES, tile)


def cut(vector) -> list[np.ndarray]:
    """Kernels from one vector of all weights, each in the order (out, f, f, in)."""
    kernels, start = [], 0
    for s in SHAPES:
        part = vector[start : start + s.numel].reshape(s.out_channels, 3, 3, s.in_channels)
        kernels.append((2 / s.fan_in) ** 0.5 * part.transpose(0, 3, 1, 2))
        start += s.numel
    return kernels


def literal_hashed(source):
    p = parameters_of(source)
    return cut(np.array([p["values"][int(place)] for place in p["places"]]))


def literal_multihash(source):
    p = parameters_of(source)
    return cut(sum(np.outer(p["u"][:, j], p["v"][:, j]) for j in range(60)).flatten() / 60**0.5)


def literal_tucker(source):
    p, kernels = parameters_of(source), []
    for s in SHAPES:
        u, core, v = (p[f"{s.name}_{part}"] for part in ("u", "core", "v"))
        kernel = np.zeros((s.out_channels, s.in_channels, 3, 3))
        for a in range(core.shape[0]):
            for b in range(core.shape[1]):
                kernel += (
                    u[:, a, None, None, None]
                    * v[b, None, :, None, None][0]
                    * core[a, b][None, None]
                )
        kernels.append(kernel * (2 / s.fan_in) ** 0.5 / core.shape[0])
    return kernels


def literal_separable(source):
    p = parameters_of(source)
    return [
        np.stack(
            [
                [w * p[f"{s.name}_depthwise"][i, 0] for i, w in enumerate(row)]
                for row in p[f"{s.name}_pointwise"]
            ]
        )
        for s in SHAPES
    ]


def by_stage(source, make) -> list[np.ndarray]:
    """Stored kernels where channels change, else `make(parameters, shape, layer of its stage)`."""
    p, seen, kernels = parameters_of(source), {}, []
    for s in SHAPES:
        if s.in_channels != s.out_channels:
            kernels.append(p[s.name] * (2 / s.fan_in) ** 0.5)
            continue
        number = seen[s.stage] = seen.get(s.stage, -1) + 1
        kernels.append(
            make(p, s, number).reshape(s.out_channels, 3, 3, s.in_channels).transpose(0, 3, 1, 2)
        )
    return kernels


def literal_stage_template(source):
    def make(p, s, layer):
        bank = p[f"banks.{s.stage}"]
        assert len(bank) == {1: 2, 2: 1, 3: 1}[s.stage]
        total = sum(a * b for a, b in zip(p[f"coefficients.{s.stage}"][layer], bank, strict=True))
        return total * (2 / s.fan_in) ** 0.5 / len(bank) ** 0.5

    return by_stage(source, make)


def literal_basis(source):
    def make(p, s, layer):
        filters = np.concatenate([p[f"bases.{s.stage}"], p[f"own.{s.stage}"][layer]])
        return p[f"coefficients.{s.stage}"][layer] @ filters * (2 / len(filters) / s.fan_in) ** 0.5

    return by_stage(source, make)


def test_the_basis_is_drawn_orthonormal_and_its_penalty_is_that_of_the_definition():
    source = BasisKernels(SHAPES)
    assert float(source.penalty(source()).detach()) < 1e-3
    with torch.no_grad():
        source.own["2"][1, 0] *= 2
    p = parameters_of(source)
    expected = 0.0
    for stage in "123":
        for own in p[f"own.{stage}"]:
            rows = np.concatenate([p[f"bases.{stage}"], own])
            rows = rows / rows.shape[1] ** 0.5
            expected += 10 * np.square(rows @ rows.T - np.eye(len(rows))).sum()
    assert expected > 50 and float(source.penalty(source()).detach()) == pytest.approx(
        expected, rel=1e-4
    )


def literal_shared(source):
    p = parameters_of(source)
    return [
        p[f"stage{s.stage}_{'first' if s.block == 0 else 'later'}_conv{s.index}"] for s in SHAPES
    ]


@pytest.mark.parametrize(
    "source, literal",
    [
        (TemplateKernels, literal_template),
        (SubspaceKernels, literal_subspace),
        (ChunkedKernels, literal_chunked),
        (HashedKernels, literal_hashed),
        (MultihashKernels, literal_multihash),
        (SharedKernels, literal_shared),
        (TuckerKernels, literal_tucker),
        (SeparableKernels, literal_separable),
        (StageTemplateKernels, literal_stage_template),
        (BasisKernels, literal_basis),
    ],
)
def test_sources_are_their_definitions(source, literal):
    torch.manual_seed(0)
    instance = source(SHAPES)
    with torch.no_grad():
        for name, parameter in instance.named_parameters():
            if name.startswith("b"):  # biases are drawn as zero
                parameter.normal_()
    for kernel, expected in zip(instance(), literal(instance), strict=True):
        np.testing.assert_allclose(dense(kernel).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", [TuckerKernels, SeparableKernels])
@pytest.mark.parametrize("layer", [0, 4])  # stride 1, and 2 with other channels
def test_factored_kernels_do_what_their_product_does(source, layer):
    kernel, shape = source(SHAPES)()[layer], SHAPES[layer]
    assert isinstance(kernel, Factored)
    x, bias = torch.randn(2, shape.in_channels, 8, 8), torch.randn(shape.out_channels)
    whole = torch.nn.functional.conv2d(x, dense(kernel), bias, shape.stride, padding=1)
    assert torch.allclose(convolve(x, kernel, bias, shape.stride), whole, atol=1e-4)


def test_every_source_has_its_literal_reading():
    tested = {
        HyperKernels,
        StoredKernels,
        TemplateKernels,
        SubspaceKernels,
        ChunkedKernels,
        HashedKernels,
        MultihashKernels,
        SharedKernels,
        TuckerKernels,
        SeparableKernels,
        StageTemplateKernels,
        BasisKernels,
    }
    assert tested == set(SOURCES)


def test_what_is_frozen_is_not_saved():
    for source, name in ((SubspaceKernels, "basis"), (HashedKernels, "places")):
        first, second = source(SHAPES), source(SHAPES)
        assert name not in first.state_dict()
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_hard_sharing_shares():
    shapes = kernel_shapes(22, (16, 32, 64))
    kernels = dict(zip([s.name for s in shapes], SharedKernels(shapes)(), strict=True))
    assert kernels["stage2_block1_conv2"] is kernels["stage2_block2_conv2"]
    assert kernels["stage2_block0_conv2"] is not kernels["stage2_block1_conv2"]


def test_hyper_is_equations_2_and_3():
    torch.manual_seed(0)
    source = HyperKernels(SHAPES)
    with torch.no_grad():
        source.b_in.normal_()
        source.b_out.normal_()
    for layer, kernel in enumerate(source()):
        np.testing.assert_allclose(
            kernel.detach().numpy(), literal_kernel(source, layer), rtol=1e-4, atol=1e-4
        )


def test_row_by_row():
    """32 -> 64 channels: tiles 0 to 3 are the first 16 input channels, 4 to 7 the second."""
    source = HyperKernels(SHAPES)
    layer = [s.name for s in SHAPES].index("stage3_block0_conv1")
    first = 4 + 2 + 3 * 4
    with torch.no_grad():
        source.embeddings[first : first + 8] = 0
        source.embeddings[first + 5] = 1
    nonzero = source()[layer].abs().sum((2, 3)).nonzero()
    assert set(nonzero[:, 0].tolist()) == set(range(16, 32))
    assert set(nonzero[:, 1].tolist()) == set(range(16, 32))


@pytest.mark.parametrize("source", SOURCES)
def test_variance_is_of_the_fan_in(source):
    ratios = []
    for seed in range(64):
        torch.manual_seed(seed)
        ratios.append(
            [
                float(dense(k).detach().square().mean()) * s.fan_in / 2
                for k, s in zip(source(SHAPES)(), SHAPES, strict=True)
            ]
        )
    ratios = np.array(ratios)
    assert np.abs(ratios.mean(0) - 1).max() < 0.05
    assert np.abs(ratios - 1).max() < 0.30


@pytest.mark.parametrize("source", SOURCES)
def test_kernels_are_channels_last_and_counted(source):
    instance = source(SHAPES)
    assert all(dense(k).is_contiguous(memory_format=torch.channels_last) for k in instance())
    assert sum(source.count(SHAPES).values()) == sum(p.numel() for p in instance.parameters())


def test_generator_runs_in_fp32_under_autocast():
    from models.wide_resnet import WideResNet

    model = WideResNet(10, 1, kernels=HyperKernels)
    plain = model.generate()
    with torch.autocast("cpu", torch.bfloat16):
        cast = model.generate()
    assert all(
        k.dtype == torch.float32 and torch.equal(k, p) for k, p in zip(cast, plain, strict=True)
    )


def test_hand_over_is_checked():
    kernels = StoredKernels(SHAPES)()
    with pytest.raises(ValueError, match="gave 11 kernels; the backbone has 12"):
        check_kernels(kernels[:-1], SHAPES)
    with pytest.raises(ValueError, match="stage1_block0_conv1 has shape"):
        check_kernels([kernels[0][:1], *kernels[1:]], SHAPES)


def test_tiles_need_multiples():
    with pytest.raises(ValueError, match=r"11 channels .* multiple of the tile, 16"):
        HyperKernels(kernel_shapes(10, (11, 22, 44)))


SCALING = [source for source in SOURCES if source.scales_gradients]


@pytest.mark.parametrize(
    "source, options", [(HyperKernels, {"embedding": 3}), (TemplateKernels, {"templates": 3})]
)
def test_scaled_gradients_are_least_squares(source, options, monkeypatch):
    """By dense algebra: no other step of a parameter moves the kernels more like their gradient."""
    assert source in SCALING and len(SCALING) == 2
    monkeypatch.setattr(scaling, "DAMPING", 1e-6)
    monkeypatch.setattr(scaling, "ITERATIONS", 60)
    torch.manual_seed(0)
    shapes = kernel_shapes(10, (4, 8, 16))[:4]
    made = source(shapes, tile=4, **options)
    wanted = [torch.randn(s.out_channels, s.in_channels, 3, 3) for s in shapes]
    sum((g * kernel).sum() for g, kernel in zip(wanted, made(), strict=True)).backward()
    made.scale_gradients()
    for name, parameter in made.named_parameters():

        def kernels(value, name=name):
            return torch.cat(
                [k.flatten() for k in torch.func.functional_call(made, {name: value}, ())]
            )

        jacobian = torch.func.jacfwd(kernels)(parameter.detach()).detach().flatten(1).double()
        expected = torch.linalg.lstsq(
            jacobian, torch.cat([g.flatten() for g in wanted]).double()
        ).solution
        torch.testing.assert_close(
            parameter.grad.flatten().double(),
            expected,
            rtol=1e-2,
            atol=1e-2 * float(expected.abs().max()),
        )


def test_damped_inverse():
    torch.manual_seed(0)
    a = torch.randn(3, 64, 80)
    a = a @ a.transpose(1, 2)
    damped = a + scaling.DAMPING * a.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(64)
    error = torch.linalg.matrix_norm(scaling.damped_inverse(a) @ damped - torch.eye(64))
    assert float(error.max()) < 1e-3
    for size in (64, 256):
        low = torch.randn(size, 5)  # of rank 5: the damping alone bounds the inverse
        low = low @ low.t()
        damped = low + scaling.DAMPING * low.trace() / size * torch.eye(size)
        exact = torch.linalg.inv(damped.double())
        assert float((scaling.damped_inverse(low) - exact).norm() / exact.norm()) < 2e-3
