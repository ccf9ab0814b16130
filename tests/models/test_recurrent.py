"""Recurrent networks against a literal transcription, torch's LSTM, and the paper's counts."""

import copy
import dataclasses
import functools
from typing import ClassVar

import numpy as np
import pytest
import torch

from benchmarks.measuring.products import products
from benchmarks.measuring.recurrent_baselines import StepwiseHyperLstm
from models.recurrent import counts
from models.recurrent.cells import HyperLstmCell, LstmCell
from models.recurrent.counts import GATES, Shape
from models.recurrent.network import BLOCK, RecurrentNetwork

PTB = {
    "LSTM 1000": (Shape(50, 1000), 4_254_050),
    "LSTM 1250": (Shape(50, 1250), 6_567_550),
    "2-layer LSTM 1000": (Shape(50, 1000, layers=2), 12_258_050),
    "LN LSTM 1000, gains": (Shape(50, 1000, layer_norm=True, norm_biases=False), 4_259_050),
    "LN LSTM 1000": (Shape(50, 1000, layer_norm=True), 4_264_050),
    "HyperLSTM 1000, Z = 4": (Shape(50, 1000, 1, 128, 4), 4_911_874),
    "LN HyperLSTM 1000, gains": (Shape(50, 1000, 1, 128, 4, True, False), 4_917_514),
    "LN HyperLSTM 1000, Z = 4": (Shape(50, 1000, 1, 128, 4, True), 4_923_154),
    "LN HyperLSTM 1000, Z = 16": (Shape(50, 1000, 1, 128, 16, True), 5_085_682),
    "2-layer LN HyperLSTM 1000": (Shape(50, 1000, 2, 128, 16, True), 14_407_714),
}
ENWIK8 = {
    "LSTM 1800": (Shape(205, 1800), 14_812_405),
    "LSTM 2000": (Shape(205, 2000), 18_058_205),
    "LN LSTM 1800, gains": (Shape(205, 1800, layer_norm=True, norm_biases=False), 14_821_405),
    "HyperLSTM 1800": (Shape(205, 1800, 1, 256, 64), 18_708_213),
    "LN HyperLSTM 1800": (Shape(205, 1800, 1, 256, 64, True), 18_728_773),
    "LN HyperLSTM 2048": (Shape(205, 2048, 1, 512, 64, True), 26_541_773),
}
SMALL = [
    Shape(7, 6),
    Shape(7, 6, layers=2, layer_norm=True),
    Shape(7, 6, 1, 5, 3),
    Shape(7, 6, 2, 5, 3, layer_norm=True),
    Shape(7, 6, 1, 5, 3, layer_norm=True, norm_biases=False),
]


@pytest.mark.parametrize("row", [*PTB, *ENWIK8])
def test_the_papers_rows_count_exactly(row):
    shape, expected = (PTB | ENWIK8)[row]
    assert counts.total(shape) == expected


def test_the_plain_networks_of_equal_size():
    widths = {row: counts.plain_of_equal_size(shape) for row, (shape, _) in (PTB | ENWIK8).items()}
    assert widths["HyperLSTM 1000, Z = 4"] == widths["LN HyperLSTM 1000, Z = 4"] == 1077
    assert widths["LN HyperLSTM 1000, Z = 16"] == 1095
    assert (widths["HyperLSTM 1800"], widths["LN HyperLSTM 2048"]) == (2038, 2449)
    assert widths["LSTM 1000"] == 1000


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_a_network_has_the_counted_parameters(shape):
    network = RecurrentNetwork.of_shape(shape)
    found = dict.fromkeys(counts.parameters(shape), 0)
    for name, parameter in network.named_parameters():
        found[network.component_of(name)] += parameter.numel()
    assert found == counts.parameters(shape)


class OneStep(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, text):
        return self.network(text, self.network.initial(text.shape[1]))


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_the_macs_of_a_character_are_those_of_its_products(shape):
    step = OneStep(RecurrentNetwork.of_shape(shape))
    of_batch = {
        batch: sum(product.macs for product in products(step, symbols(1, batch)))
        for batch in (2, 3)
    }
    assert of_batch[3] - of_batch[2] == counts.macs(shape)
    assert of_batch[2] == 2 * counts.macs(shape)


def test_the_macs_of_the_papers_networks():
    """The hyper part adds 0.63 M to the 4.00 M of the main cell."""
    plain, hyper = counts.macs(Shape(50, 1000)), counts.macs(Shape(50, 1000, 1, 128, 4))
    assert (plain, hyper - plain) == (4_050_000, 631_680)


# The literal transcription, in NumPy


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal(x, gain, bias):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain
    return normal if bias is None else normal + bias


class Literal:
    """Equations of section A.2.2, a gate and a step at a time, from a cell's parameters."""

    def __init__(self, cell):
        self.cell = cell
        self.p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
        self.hyper = isinstance(cell, HyperLstmCell)

    def norm(self, name, gate, x):
        gain = self.p.get(f"{name}.gain")
        bias = self.p.get(f"{name}.bias")
        if gain is None:
            return x
        return normal(x, gain[gate], None if bias is None else bias[gate])

    def gate(self, name, gate, units):
        return self.p[name][gate * units : (gate + 1) * units]

    def lstm(self, y, c, prefix, mask):
        """From the four pre-activations before the norm to h and c."""
        i, g, f, o = (self.norm(f"{prefix}gate_norm", k, y[k]) for k in range(GATES))
        c = sigmoid(f + self.cell.forget_bias) * c + sigmoid(i) * (np.tanh(g) * mask)
        return sigmoid(o) * np.tanh(self.norm(f"{prefix}cell_norm", 0, c)), c

    def outputs(self, inputs, masks):
        n = self.cell.units
        batch = inputs.shape[1]
        h, c = np.zeros((batch, n)), np.zeros((batch, n))
        if self.hyper:
            m = self.cell.hyper_units
            hyper_h, hyper_c = np.zeros((batch, m)), np.zeros((batch, m))
        made = []
        for x, mask in zip(inputs, masks, strict=True):
            of_h = [h @ self.gate("recurrent_weight", k, n).T for k in range(GATES)]
            of_x = [x @ self.gate("input_weight", k, n).T for k in range(GATES)]
            if not self.hyper:
                y = [of_h[k] + of_x[k] + self.p["bias"][k] for k in range(GATES)]
                h, c = self.lstm(y, c, "", mask)
                made.append(h)
                continue
            hyper_y = [
                h @ self.gate("hyper_main_weight", k, m).T
                + x @ self.gate("hyper_input_weight", k, m).T
                + hyper_h @ self.gate("hyper_recurrent_weight", k, m).T
                + self.p["hyper_bias"][k]
                for k in range(GATES)
            ]
            hyper_h, hyper_c = self.lstm(hyper_y, hyper_c, "hyper_", 1.0)
            y = [self.scaled(k, hyper_h, of_h[k], of_x[k]) for k in range(GATES)]
            h, c = self.lstm(y, c, "", mask)
            made.append(h)
        return np.stack(made)

    def scaled(self, k, hyper_h, of_h, of_x):
        z = self.cell.embedding
        z_h, z_x, z_b = (
            hyper_h @ self.gate("embedding_weight", role * GATES + k, z).T for role in range(3)
        )
        z_h = z_h + self.gate("embedding_bias", k, z)
        z_x = z_x + self.gate("embedding_bias", GATES + k, z)
        w_hz, w_xz, w_bz = self.p["scales"][k::GATES]
        return (z_h @ w_hz) * of_h + (z_x @ w_xz) * of_x + z_b @ w_bz + self.p["bias"][k]


def drawn(shape, **options):
    """A network in float64 with every parameter drawn, so that none is without effect."""
    torch.manual_seed(3)
    network = RecurrentNetwork.of_shape(shape, **options).double()
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter) * 0.5
    return network


def symbols(steps=9, batch=4, count=7):
    return torch.randint(count, (steps, batch), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_the_network_is_the_literal_transcription(shape, forget_bias):
    network = drawn(shape, forget_bias=forget_bias).eval()
    text = symbols()
    with torch.no_grad():
        logits, _ = network(text, network.initial(4))
    outputs = np.eye(shape.symbols)[text.numpy()]
    for cell in network.cells:
        outputs = Literal(cell).outputs(outputs, np.ones(len(outputs)))
    weight, bias = (value.detach().numpy() for value in network.readout.parameters())
    np.testing.assert_allclose(logits.numpy(), outputs @ weight.T + bias, rtol=0, atol=1e-12)


def test_recurrent_dropout_acts_on_tanh_g_alone():
    cell = drawn(Shape(7, 6, 1, 5, 3, layer_norm=True)).cells[0]
    x = torch.randn(5, 4, 7, dtype=torch.float64)
    masks = torch.bernoulli(torch.full((5, 4, 6), 0.5, dtype=torch.float64)) * 2
    state, made = cell.initial(4), []
    for projected, mask in zip(x @ cell.projection.T, masks, strict=True):
        state = cell.step(state, projected, mask)
        made.append(state.h)
    expected = Literal(cell).outputs(x.numpy(), masks.numpy())
    np.testing.assert_allclose(torch.stack(made).detach().numpy(), expected, rtol=0, atol=1e-12)


def as_torch(cell):
    """torch's LSTM with a cell's weights; its gates are i, f, g, o."""
    lstm = torch.nn.LSTM(cell.input_weight.shape[1], cell.units).double()
    order = [0, 2, 1, 3]
    blocks = {
        "weight_ih_l0": cell.input_weight,
        "weight_hh_l0": cell.recurrent_weight,
        "bias_ih_l0": cell.bias.flatten(),
    }
    for name, value in blocks.items():
        gates = value.detach().chunk(GATES)
        getattr(lstm, name).data = torch.cat([gates[number] for number in order])
    lstm.bias_hh_l0.data.zero_()
    lstm.bias_hh_l0.data[cell.units : 2 * cell.units] = cell.forget_bias
    return lstm


@pytest.mark.parametrize("shape", [Shape(7, 6), Shape(7, 6, 1, 5, 3)], ids=str)
def test_with_scales_of_one_it_is_torchs_lstm(shape):
    network = drawn(shape)
    (cell,) = network.cells
    if shape.hyper_units:  # d = 1 whatever h^ is, and b = b_0
        cell.embedding_weight.data.zero_()
        cell.embedding_bias.data.fill_(1.0)
        cell.scales.data.fill_(1 / shape.embedding)
    text = symbols()
    logits, (end,) = network(text, network.initial(4))
    one_hot = torch.nn.functional.one_hot(text, 7).double()
    outputs, (h, c) = as_torch(cell)(one_hot)
    torch.testing.assert_close(logits, network.readout(outputs), rtol=0, atol=1e-12)
    torch.testing.assert_close((end.h, end.c), (h[0], c[0]), rtol=0, atol=1e-12)


def test_the_state_is_carried_from_chunk_to_chunk():
    network = drawn(Shape(7, 6, 2, 5, 3, layer_norm=True))
    text = symbols()
    whole, _ = network(text, network.initial(4))
    first, states = network(text[:4], network.initial(4))
    second, _ = network(text[4:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)


# Gradients of the faster paths


def plain_logits(network, text, states, dropout=None):
    """What the network computes, by plain steps of the cells and a one-hot input."""
    outputs = torch.nn.functional.one_hot(text, 7).to(network.readout.weight)
    if dropout:
        outputs = outputs * dropout.inputs
    ends = []
    for number, (cell, state) in enumerate(zip(network.cells, states, strict=True)):
        made = []
        for step, x in enumerate(outputs):
            mask = dropout.recurrent[number][step] if dropout else 1.0
            state = cell.step(state, x @ cell.projection.T, mask)
            made.append(state[0])
        ends.append(state)
        outputs = torch.stack(made) * (dropout.outputs[number] if dropout else 1.0)
    return network.readout(outputs), ends


def cut(states):
    return [type(state)(*(value.detach() for value in state)) for state in states]


def assert_near(found, expected, tolerance):
    for gradient, exact in zip(found, expected, strict=True):
        assert gradient.dtype == exact.dtype
        assert (gradient - exact).norm() <= tolerance * exact.norm() > 0


def gradients_of_two_chunks(network, run, dropout, through):
    """Of a chunk and a second one with the first's last states, cut off from it or not."""
    network.zero_grad()
    text = symbols(steps=2 * STEPS)
    first, states = run(text[:STEPS], network.initial(4), dropout)
    second, _ = run(text[STEPS:], states if through else cut(states), dropout)
    (first.square().sum() + second.square().sum() * 3).backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


STEPS = BLOCK + 2
HARDER = [
    dataclasses.replace(shape, layers=2, layer_norm=norm)
    for shape in SMALL[:3:2]
    for norm in (False, True)
]


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("keep", [None, 0.7])
@pytest.mark.parametrize("shape", HARDER, ids=str)
def test_gradients_are_those_of_plain_steps(shape, keep, through):
    network = drawn(shape)
    generator = torch.Generator().manual_seed(5)
    dropout = keep and network.dropout(STEPS, 4, keep, generator)
    plain = functools.partial(plain_logits, network)
    expected = gradients_of_two_chunks(network, plain, dropout, through)
    found = gradients_of_two_chunks(network, network, dropout, through)
    assert_near(found, expected, 1e-9)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("shape", HARDER, ids=str)
def test_gradients_of_compiled_steps_are_those_of_plain_steps(shape, dtype, tolerance, backend):
    """Known chains of layer norms had silently wrong gradients in some compilers."""
    network = drawn(shape).to(dtype)
    torch._dynamo.reset()
    dropout = network.dropout(STEPS, 4, 0.7, torch.Generator().manual_seed(5))
    plain = functools.partial(plain_logits, network)
    expected = gradients_of_two_chunks(network, plain, dropout, False)
    network.compile_steps(
        functools.partial(torch.compile, backend=backend, dynamic=False, fullgraph=True)
    )
    found = gradients_of_two_chunks(network, network, dropout, False)
    assert_near(found, expected, tolerance)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [HARDER[1], HARDER[3]], ids=str)
def test_steps_are_compiled_once_to_train_and_once_to_evaluate(shape, autocast):
    """One graph for both layers, for the first step and for a state that is carried."""
    torch._dynamo.reset()
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    network = drawn(shape).float()
    options = {"backend": backend, "dynamic": False, "fullgraph": True}
    network.compile_steps(functools.partial(torch.compile, **options))
    states = network.initial(4)
    for _ in range(2):
        dropout = network.dropout(STEPS, 4, 0.7, torch.Generator())
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits, ends = network(symbols(STEPS), states, dropout)
        logits.mean().backward()
        states = cut(ends)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            network(symbols(STEPS, 3), network.initial(3))
    assert len(compiled) == 2


@pytest.mark.parametrize("shape", HARDER, ids=str)
def test_gradients_under_autocast_are_near(shape):
    network = drawn(shape).float()
    expected = gradients_of_two_chunks(network, network, None, False)

    def run(*args):
        with torch.autocast("cpu", torch.bfloat16):
            logits, states = network(*args)
        for state in states:
            assert {value.dtype for value in state} == {torch.float32}
        return logits.float(), states

    found = gradients_of_two_chunks(network, run, None, False)
    assert_near(found, expected, 0.1)


# Public code


def stepwise_weights(network):
    """Of a `StepwiseHyperLstm`, from a network's."""
    (cell,) = network.cells
    state = {f"readout.{name}": value for name, value in network.readout.state_dict().items()}
    matrices = cell.hyper_input_weight, cell.hyper_main_weight, cell.hyper_recurrent_weight
    hyper = torch.cat(matrices, 1).chunk(GATES)
    z_weights = cell.embedding_weight.unflatten(0, (3, GATES, -1))
    z_biases = cell.embedding_bias.unflatten(0, (2, GATES, -1))
    scales = cell.scales.unflatten(0, (3, GATES)).mT
    for k in range(GATES):
        state[f"hyper_gates.{k}.weight"] = hyper[k]
        state[f"hyper_gates.{k}.bias"] = cell.hyper_bias[k]
        state[f"gates.{k}.of_x.weight"] = cell.input_weight.chunk(GATES)[k]
        state[f"gates.{k}.of_h.weight"] = cell.recurrent_weight.chunk(GATES)[k]
        state[f"gates.{k}.b.bias"] = cell.bias[k]
        for role, (z, scale) in enumerate([("z_h", "d_h"), ("z_x", "d_x"), ("z_b", "b")]):
            state[f"gates.{k}.{z}.weight"] = z_weights[role, k]
            state[f"gates.{k}.{scale}.weight"] = scales[role, k]
        state[f"gates.{k}.z_h.bias"], state[f"gates.{k}.z_x.bias"] = z_biases[:, k]
    return state


def test_the_network_of_public_code_is_the_same():
    network = drawn(Shape(7, 6, 1, 5, 3))
    stepwise = StepwiseHyperLstm(7, 6, 5, 3).double()
    stepwise.load_state_dict(stepwise_weights(network))
    text = symbols(STEPS)
    results = []
    for model in (network, stepwise):
        logits, (end,) = model(text, model.initial(4))
        logits.square().mean().backward()
        results.append((logits, end.h, end.c, model.readout.weight.grad))
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)
    gradient = torch.cat([gate.of_h.weight.grad for gate in stepwise.gates])
    torch.testing.assert_close(network.cells[0].recurrent_weight.grad, gradient)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (network, stepwise)]
    assert sizes[0] == sizes[1]


# Known faults of public code


def test_the_forget_bias_is_not_normalised_away():
    """Added to all of a gate before its layer norm, it would have no effect."""
    shape = Shape(7, 6, 1, 5, 3, layer_norm=True)
    with torch.no_grad():
        found = [
            drawn(shape, forget_bias=bias)(symbols(), drawn(shape).initial(4))[0]
            for bias in (0.0, 1.0)
        ]
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_the_carried_cell_is_not_normalised():
    """With the forget gate open and no input it stays what it is, of any mean and size."""
    cell = drawn(Shape(7, 6, layer_norm=True)).cells[0]
    cell.gate_norm.gain.data.zero_()
    cell.gate_norm.bias.data = torch.tensor([-50.0, 0.0, 50.0, 0.0]).double().repeat(6, 1).T
    c = torch.linspace(3, 8, 6, dtype=torch.float64).expand(4, 6)
    state = cell.initial(4)._replace(c=c)
    after = cell.step(state, torch.zeros(4, 24, dtype=torch.float64))
    torch.testing.assert_close(after.c, c, rtol=0, atol=1e-9)


def test_the_hyper_cell_sees_the_main_cells_state():
    cell = drawn(Shape(7, 6, 1, 5, 3)).cells[0]
    h = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    projected = torch.zeros(4, 44, dtype=torch.float64)
    after = cell.step(cell.initial(4)._replace(h=h), projected)
    (gradient,) = torch.autograd.grad(after.hyper_h.sum(), h)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_initialisation(layer_norm):
    """Every matrix that an input or a state goes through is orthogonal, none is zero; d is 0.1."""
    torch.manual_seed(0)
    cell = HyperLstmCell(20, 16, 8, 4, layer_norm)
    plain = LstmCell(20, 16, layer_norm)
    matrices = [cell.input_weight, cell.recurrent_weight, cell.hyper_input_weight]
    matrices += [cell.hyper_main_weight, cell.hyper_recurrent_weight]
    for matrix in [*matrices, plain.input_weight, plain.recurrent_weight]:
        for gate in matrix.chunk(GATES):
            torch.testing.assert_close(gate @ gate.T, torch.eye(len(gate)), rtol=0, atol=1e-5)
    *d, shift = cell.scaling(torch.randn(3, 8) @ cell.embedding_weight.T)
    torch.testing.assert_close(torch.cat(d), torch.full((6, 4, 16), 0.1))
    assert shift.abs().max() == 0 < cell.embedding_weight[-16:].abs().max() < 0.05
    assert cell.embedding_weight[:-16].abs().max() == 0


def test_dropout_is_of_the_kept_share_and_drawn_from_the_generator_alone():
    network = RecurrentNetwork.of_shape(dataclasses.replace(SMALL[3], units=64))
    state = torch.get_rng_state()
    dropout = network.dropout(50, 40, 0.75, torch.Generator().manual_seed(2))
    again = network.dropout(50, 40, 0.75, torch.Generator().manual_seed(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert dropout.inputs.shape == (50, 40, 1)
    masks = [*dropout.recurrent, *dropout.outputs]
    assert [mask.shape for mask in masks] == 4 * [(50, 40, 64)]
    for mask, same in zip(masks, [*again.recurrent, *again.outputs], strict=True):
        assert torch.equal(mask, same)
        assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
        assert float((mask > 0).float().mean()) == pytest.approx(0.75, abs=0.01)


def test_without_masks_nothing_is_dropped_in_training():
    network = drawn(SMALL[3])
    text, states = symbols(), network.initial(4)
    training = network.train()(text, states)[0]
    assert torch.equal(training, network.eval()(text, states)[0])


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_dropout_is_applied_to_inputs_tanh_g_and_outputs(shape):
    network = drawn(shape)
    text = symbols()
    masks = network.dropout(9, 4, 0.5, torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, _ = network(text, network.initial(4), masks)
    outputs = np.eye(shape.symbols)[text.numpy()] * masks.inputs.numpy()
    for number, cell in enumerate(network.cells):
        outputs = Literal(cell).outputs(outputs, masks.recurrent[number].numpy())
        outputs = outputs * masks.outputs[number].numpy()
    weight, bias = (value.detach().numpy() for value in network.readout.parameters())
    np.testing.assert_allclose(logits.numpy(), outputs @ weight.T + bias, rtol=0, atol=1e-12)


# Cells of others


class Elman(torch.nn.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.units = units
        self.of_x = torch.nn.Linear(inputs, units, bias=False)
        self.of_h = torch.nn.Linear(units, units)

    @property
    def projection(self):
        return self.of_x.weight

    def initial(self, batch):
        return (self.projection.new_zeros(batch, self.units),)

    def step(self, state, projected, mask):
        return (torch.tanh(projected + self.of_h(state[0])) * mask,)


def test_another_cell_has_the_same_network():
    torch.manual_seed(3)
    network = RecurrentNetwork([Elman(7, 6), Elman(6, 5)], 7).double()
    text = symbols()
    logits, ends = network(text, network.initial(4))
    rnn = torch.nn.RNN(7, 6), torch.nn.RNN(6, 5)
    outputs = torch.nn.functional.one_hot(text, 7).double()
    for cell, layer in zip(network.cells, rnn, strict=True):
        layer.weight_ih_l0, layer.weight_hh_l0 = cell.of_x.weight, cell.of_h.weight
        layer.bias_ih_l0 = cell.of_h.bias
        layer.bias_hh_l0.data = torch.zeros(cell.units, dtype=torch.float64)
        outputs, _ = layer(outputs)
    torch.testing.assert_close(logits, network.readout(outputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(ends[1][0], outputs[-1], rtol=0, atol=1e-12)
    names = [name for name, _ in network.named_parameters()]
    assert {network.component_of(name) for name in names} == {"recurrent", "readout"}


def test_cells_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cell 1 has 4 inputs and is given 6"):
        RecurrentNetwork([Elman(7, 6), Elman(4, 5)], 7)
    with pytest.raises(ValueError, match="one cell or more"):
        RecurrentNetwork([], 7)


class Named(Elman):
    components: ClassVar[dict[str, str]] = {"of_h": "generator", "of_h.bias": "layer_norms"}


def test_components_name_parameters_or_modules():
    network = RecurrentNetwork([Named(7, 6)], 7)
    found = {name: network.component_of(name) for name, _ in network.named_parameters()}
    assert found["cells.0.of_h.weight"] == "generator" and found["readout.bias"] == "readout"
    assert (
        found["cells.0.of_h.bias"] == "layer_norms" and found["cells.0.of_x.weight"] == "recurrent"
    )


@pytest.mark.parametrize(
    ("components", "told"),
    [
        (
            {"of_h": "strange"},
            "component 'strange' of 'of_h' in Elman is not allowed; choose from rec",
        ),
        ({"of_z.weight": "generator"}, "Elman has no 'of_z.weight', which its components name"),
    ],
)
def test_components_that_there_are_not_are_refused(components, told):
    cell = Elman(7, 6)
    cell.components = components
    with pytest.raises(ValueError, match=told):
        RecurrentNetwork([cell], 7)


class OneForAll(Elman):
    def initial(self, batch):
        return super().initial(1)


class Growing(Elman):
    def step(self, state, projected, mask):
        return (*super().step(state, projected, mask), *state)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OneForAll, r"OneForAll: a state of shapes \[\(1, 6\)\] becomes one of \[\(4, 6\)\]"),
        (Growing, r"Growing: a state of shapes \[\(4, 6\)\] becomes one of \[\(4, 6\), "),
    ],
)
def test_states_of_several_forms_are_refused(kind, told):
    network = RecurrentNetwork([kind(7, 6)], 7)
    with pytest.raises(ValueError, match=told):
        network(symbols(), network.initial(4))


def test_compiled_steps_are_shared_by_copies_and_no_part_of_the_state():
    network = drawn(SMALL[3])
    names = list(network.state_dict())
    calls = []

    def counting(step):
        def counted(*args):
            calls.append(step)
            return step(*args)

        return counted

    network.compile_steps(counting)
    text, states = symbols(), network.initial(4)
    logits, _ = network(text, states)
    assert len(calls) == 2 * len(text)
    clone = copy.deepcopy(network)
    clone.readout.bias.data += 1
    torch.testing.assert_close(clone(text, states)[0], logits + 1)
    clone.cells[0].recurrent_weight.data += 1  # the copy's own weights are used
    assert not torch.equal(clone(text, states)[0], logits + 1)
    assert len(calls) == 6 * len(text)
    assert list(clone.state_dict()) == list(network.state_dict()) == names


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("units", [1, 7, 64])
def test_the_plain_width_is_the_nearest_of_all(units, layers):
    shape = Shape(symbols=9, units=units, layers=layers, hyper_units=units, embedding=16)
    found = counts.plain_of_equal_size(shape)

    def distance(width):
        return abs(counts.total(Shape(symbols=9, units=width)) - counts.total(shape))

    assert found == min(range(1, 99 * units), key=distance)
