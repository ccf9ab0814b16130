"""Training on text: carried state, dropout, clipping, exact resume, bits per character."""

import dataclasses
import math

import pytest
import torch

from benchmarks.data import text
from benchmarks.runs.building import build
from benchmarks.training import probing, recipes, text_learning
from benchmarks.training.checkpoints import load_checkpoint
from benchmarks.training.compiling import Compiler, WrongGradientError
from benchmarks.training.loop import Interrupted, Trainer
from benchmarks.training.settings import Settings
from benchmarks.training.text_learning import WARM_UP, Evaluator, Learning
from models import registry
from models.recurrent.network import RecurrentNetwork

CPU = Settings(torch.device("cpu"))
COMPILED = Settings(torch.device("cpu"), compile="default")


@pytest.fixture(scope="module")
def words():
    """A text of 12 symbols with something to learn, 4,000 of training."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(10, (4800,), generator=generator).cumsum(0) % 12
    whole = "".join("abcdefghijkl"[number] for number in numbers)
    return text.assemble("words", [whole[:4000], whole[4000:4400], whole[4400:]], unknown=False)


@pytest.fixture
def recipe():
    """Two epochs of 12 steps."""
    base = recipes.load("text_demo")
    block = dataclasses.replace(base.stored, steps=None)
    return dataclasses.replace(base, stored=block, generated=block)


def trainer(data, recipe, name="hyper_lstm_8_m6"):
    model = build(name, data.num_classes, seed=0)
    return Trainer(model, data, recipe, CPU, 0, {"model": name})


SMALL_AND_ALL_PARTS = ["lstm_8", pytest.param("ln_hyper_lstm_8_z3_m6_x2", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", SMALL_AND_ALL_PARTS)
def test_a_run_that_was_stopped_twenty_times_ends_as_if_it_had_not_been(
    words, recipe, tmp_path, name
):
    whole = trainer(words, recipe, name)
    expected = whole.train()
    path = tmp_path / "run.ckpt"
    for steps in range(20):
        part = trainer(words, recipe, name)
        if path.exists():
            part.restore(load_checkpoint(path))
        assert part.history.steps_done == steps
        with pytest.raises(Interrupted):
            part.train(path, lambda: "enough")
    last = trainer(words, recipe, name)
    last.restore(load_checkpoint(path))
    result = last.train(path)
    assert result.test_error == expected.test_error and result.test_wrong is None
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[key]), key
    losses = [[entry["train_loss"] for entry in run.history.epochs] for run in (result, expected)]
    assert losses[0] == losses[1] and len(losses[0]) == 2


def test_a_step_goes_on_from_the_state_of_the_one_before_and_an_epoch_from_none(words, recipe):
    """With a rate of almost zero and no dropout two steps are one pass over both chunks."""
    still = dataclasses.replace(recipe.stored, learning_rate=1e-30)
    sequences = dataclasses.replace(recipe.sequences, keep=1.0)
    recipe = dataclasses.replace(recipe, stored=still, generated=still, sequences=sequences)
    run = trainer(words, recipe, "lstm_8")
    batches = list(run.learning.epoch(0, 0, 0))
    losses = [float(run.step(batch, 0)[0]) for batch in batches[:2]]
    x = torch.cat([batches[0][0], batches[1][0]])
    y = torch.cat([batches[0][1], batches[1][1]])
    logits, _ = run.model(x, run.model.initial(x.shape[1]))
    by_step = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), y.flatten(), reduction="none"
    ).view(2, -1)
    assert losses == pytest.approx(by_step.mean(1).tolist(), rel=1e-5)
    next(run.learning.epoch(0, 1, 0))
    assert all(not part.any() for state in run.learning.carried for part in state)


def test_no_gradient_flows_into_the_chunk_before(words, recipe):
    run = trainer(words, recipe)
    first, second = list(run.learning.epoch(0, 0, 0))[:2]
    run.step(first, 0)
    assert all(not part.requires_grad for state in run.learning.carried for part in state)
    assert any(part.any() for state in run.learning.carried for part in state)
    run.step(second, 1)


def test_masks_are_of_seed_epoch_and_step(words, recipe):
    learning = trainer(words, recipe).learning

    def masks(seed, epoch, step):
        return next(learning.epoch(seed, epoch, step))[2:]

    drawn = masks(0, 0, 1)
    assert [mask.shape[-1] for mask in drawn] == [1, 8, 8]
    torch.manual_seed(5)  # no global generator has a say
    assert all(torch.equal(a, b) for a, b in zip(drawn, masks(0, 0, 1), strict=True))
    for other in ((1, 0, 1), (0, 1, 1), (0, 0, 2)):
        assert not torch.equal(drawn[1], masks(*other)[1])
    values = torch.cat([mask.flatten() for mask in drawn])
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float((values == 0).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_the_gradient_is_clipped(words, recipe):
    sequences = dataclasses.replace(recipe.sequences, clip=1e-3)
    block = dataclasses.replace(recipe.stored, optimizer="sgd", learning_rate=1.0, warmup=0.0)
    block = dataclasses.replace(block, momentum=0.0)
    recipe = dataclasses.replace(recipe, sequences=sequences, stored=block, generated=block)
    run = trainer(words, recipe)
    before = torch.cat([p.detach().flatten().clone() for p in run.model.parameters()])
    run.step(next(run.learning.epoch(0, 0, 0)), 0)
    after = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_what_a_hyper_cell_scales_may_have_a_rule_of_its_own(words, recipe):
    block = dataclasses.replace(recipe.generated, backbone=recipes.Rule("adam", 0.5))
    run = trainer(words, dataclasses.replace(recipe, generated=block))
    rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in run.optimizers]
    assert rates == pytest.approx([recipe.generated.learning_rate, 0.5])
    sizes = [sum(p.numel() for p in o.param_groups[0]["params"]) for o in run.optimizers]
    parts = registry.get("hyper_lstm_8_m6").parameters(words.num_classes)
    assert sizes == [parts["generator"], sum(parts.values()) - parts["generator"]]


def evaluator(words, name="hyper_lstm_8_m6"):
    model = build(name, words.num_classes, seed=0).eval()
    return Evaluator(model, words, CPU, Compiler(CPU))


@pytest.mark.parametrize("count", [2, 5, 399, 1001])
def test_an_evaluation_of_one_stream_is_one_pass(words, monkeypatch, count):
    monkeypatch.setattr(text_learning, "STREAMS", 1)
    made, split = evaluator(words), words.train[:count]
    found = made.evaluate(split)
    with torch.no_grad():
        logits, _ = made.model(split[:-1, None], made.model.initial(1))
        loss = float(torch.nn.functional.cross_entropy(logits[:, 0], split[1:]))
    assert found.loss == pytest.approx(loss, rel=1e-5) and found.wrong is None
    assert found.error == found.loss / math.log(2)


@torch.no_grad()
def biased(model):
    """Make all symbols have the loss of their own bias, whatever the state; gives the logits."""
    for parameter in model.parameters():
        parameter.zero_()
    model.readout.bias.copy_(torch.arange(12.0) / 3)
    return model.readout.bias.log_softmax(0)


@pytest.mark.parametrize("count", [WARM_UP + 1, 2 * WARM_UP, 999, 1203])
def test_streams_count_every_symbol_once(words, monkeypatch, count):
    """Losses of one pass, picked by hand where each stream begins, are what streams give."""
    made, split = evaluator(words), words.train[:count]
    many = made.evaluate(split)
    monkeypatch.setattr(text_learning, "STREAMS", 1)
    one = made.evaluate(split)
    monkeypatch.undo()
    assert many.loss == pytest.approx(one.loss, rel=1e-4)
    logits = biased(made.model)
    expected = -float(logits[split[1:]].double().mean())
    assert made.evaluate(split).loss == pytest.approx(expected, rel=1e-6)


def test_more_streams_than_symbols_of_each_stay_in_the_text(words, monkeypatch):
    """The last streams of many short ones begin behind the end: they count nothing."""
    monkeypatch.setattr(text_learning, "WARM_UP", 1)
    made = evaluator(words, "lstm_8")
    logits = biased(made.model)
    for count in (33, 34, 35, 48, 63, 66):
        split = words.train[:count]
        expected = -float(logits[split[1:]].double().mean())
        assert made.evaluate(split).loss == pytest.approx(expected, rel=1e-6)


class Counting(torch.nn.Module):
    """A cell with a number for each stream beside its output, and a learned first state."""

    def __init__(self, inputs, units):
        super().__init__()
        self.units = units
        self.projection = torch.nn.Parameter(torch.randn(units, inputs))
        self.first = torch.nn.Parameter(torch.zeros(units))

    def initial(self, batch):
        return self.first.expand(batch, -1), torch.zeros(batch, dtype=torch.int64)

    def step(self, state, projected, mask):
        return torch.tanh(projected + state[0]) * mask, state[1] + 1


def test_a_state_may_have_a_part_without_units(words, recipe):
    model = RecurrentNetwork([Counting(words.num_classes, 5)], words.num_classes)
    result = Trainer(model, words, recipe, CPU, 0, {"model": "counting"}, foreign=True).train()
    assert result.status == "ok"


def test_a_parameter_of_the_first_state_is_not_trained_and_said_to_be(words):
    model = RecurrentNetwork([Counting(words.num_classes, 5)], words.num_classes)
    assert probing.untrained(model, words) == ("cells.0.first",)


def test_l2_is_of_matrices_alone(words, recipe):
    run = trainer(words, recipe, "ln_hyper_lstm_8_m6")
    of_weights = {id(weight) for weight in run.model.weights()}
    rest = {name for name, p in run.model.named_parameters() if id(p) not in of_weights}
    assert all("norm" in name or name.endswith("bias") for name in rest) and len(rest) == 12
    without, with_l2 = (
        Learning(run.model, words, recipe, l2, CPU, Compiler(CPU)) for l2 in (0.0, 2.0)
    )
    batch = next(without.epoch(0, 0, 0))
    squares = sum(float(weight.detach().square().sum()) for weight in run.model.weights())
    (penalized, nats), (loss, same_nats) = with_l2.objective(*batch), without.objective(*batch)
    assert float((penalized - loss).detach()) == pytest.approx(squares, rel=1e-4)
    bits = [with_l2.error(float(each), batch[1].numel()) for each in (nats, same_nats)]
    assert bits == [pytest.approx(float(loss.detach()) / math.log(2), rel=1e-6)] * 2


def test_it_learns(words, recipe):
    """The steps are of ten of the twelve symbols: log2(10) bits are all there is to know."""
    block = dataclasses.replace(recipe.stored, learning_rate=0.02)
    recipe = dataclasses.replace(recipe, epochs=20, stored=block, generated=block)
    result = trainer(words, recipe, "lstm_32").train()
    assert result.status == "ok"
    assert math.log2(10) < result.test_error < math.log2(12) - 0.05


def test_a_module_that_reads_no_text_is_refused(words, recipe):
    with pytest.raises(TypeError, match="Linear is no RecurrentNetwork, which reads text"):
        Learning(torch.nn.Linear(1, 1), words, recipe, 0.0, CPU, Compiler(CPU))


def forgets(step):
    """A step through which no gradient reaches the step before."""

    def forgetful(cell, state, *others):
        return step(cell, type(state)(*(part.detach() for part in state)), *others)

    return forgetful


def doubles(step):
    """A step with twice the gradients."""

    def doubled(cell, state, *others):
        after = step(cell, state, *others)
        return type(after)(*(2 * part - part.detach() for part in after))

    return doubled


@pytest.mark.parametrize("name", ["lstm_8", "ln_hyper_lstm_8_z3_m6_x2"])
@pytest.mark.parametrize("wrong", [forgets, doubles])
def test_a_compiler_that_makes_wrong_gradients_is_refused(words, recipe, monkeypatch, name, wrong):
    monkeypatch.setattr(Compiler, "__call__", lambda self, step: wrong(step))
    model = build(name, words.num_classes, seed=0)
    with pytest.raises(WrongGradientError, match=r"gradient of cells\.0\.\w+ is wrong .*--compile"):
        Trainer(model, words, recipe, COMPILED, 0, {"model": name}).train()


def test_the_check_of_a_compiler_leaves_no_trace(words, recipe, monkeypatch):
    expected = trainer(words, recipe).train()
    monkeypatch.setattr(Compiler, "__call__", lambda self, step: step)
    model = build("hyper_lstm_8_m6", words.num_classes, seed=0)
    found = Trainer(model, words, recipe, COMPILED, 0, {"model": "hyper_lstm_8_m6"}).train()
    assert found.test_error == expected.test_error


def test_uncompiled_code_may_round_more(words, recipe, monkeypatch):
    """In bf16 the third layer's embeddings are a third off, uncompiled; in fp32 they are not."""
    monkeypatch.setattr(Compiler, "__call__", lambda self, step: step)
    name = "ln_hyper_lstm_64_m2_x3"
    for precision in ("fp32", "bf16"):
        settings = dataclasses.replace(COMPILED, precision=precision)
        model = build(name, words.num_classes, seed=0)
        made = Trainer(model, words, recipe, settings, 0, {"model": name})
        next(made.learning.epoch(0, 0, 0))
        assert not made.learning.unchecked


def test_gradients_that_say_nothing_are_not_compared():
    compiler, zero, one = Compiler(COMPILED), {"a": torch.zeros(2)}, {"a": torch.ones(2)}
    compiler.compare(zero, zero, one)
    compiler.compare(one | {"b": torch.tensor([torch.nan])}, one, zero)
    with pytest.raises(WrongGradientError, match="gradient of a is wrong"):
        compiler.compare(one, one, {})
