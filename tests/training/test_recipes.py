"""Recipes: schedules, hashes, TOML."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.training import recipes
from tests.conftest import ROOT

HASHES = json.loads(Path(__file__).with_name("recipe_hashes.json").read_text())
"""The hashes of committed records by the recipe's name: they may gain some, none may change."""
RECORDS = [
    path for room in ("runs", "studies") for path in (ROOT / "results" / room).rglob("*.json")
]


def test_paper_schedules():
    plain, hyper = (recipes.RECIPES["paper"].block(kind) for kind in ("stored", "generated"))
    assert (plain.steps, hyper.steps) == (140_000, 672_000)
    assert [plain.learning_rate_at(s, 140_000) for s in (0, 27_999, 28_000, 112_000)] == [
        0.1,
        0.1,
        0.02,
        0.00016,
    ]
    assert [hyper.learning_rate_at(s, 672_000) for s in (0, 168_000, 336_000, 504_000)] == [
        0.002,
        0.001,
        0.0002,
        0.00005,
    ]
    assert recipes.RECIPES["paper"].crop_padding == 2


def test_cosine():
    block = recipes.Block("sgd", 0.1, 0.0, warmup=0.1)
    assert block.learning_rate_at(0, 100) == pytest.approx(0.01)
    assert block.learning_rate_at(9, 100) == pytest.approx(0.1)
    assert block.learning_rate_at(55, 100) == pytest.approx(0.05)
    assert 0 < block.learning_rate_at(99, 100) < 0.001


def test_pairs_take_the_same_steps_except_in_paper():
    for name, recipe in recipes.RECIPES.items():
        kinds = {recipe.kind(*source) for source in ((False, False), (True, False), (True, True))}
        same = len({recipe.total_steps(kind, 351) for kind in kinds}) == 1
        assert same is (name != "paper")


def test_every_field_changes_the_hash():
    base = recipes.load("epochs10")
    changes = {
        "name": "other",
        "epochs": 11,
        "batch_size": 64,
        "crop_padding": 3,
        "precision": "fp32",
        "compile": "off",
        "flip": False,
        "stored": dataclasses.replace(base.stored, l2=0.1),
        "generated": dataclasses.replace(base.generated, l2=0.1),
        "scaled": dataclasses.replace(base.stored, l2=0.2),
    }
    assert {*changes, "sequences"} == {f.name for f in dataclasses.fields(base)}
    assert set(changes) | {"hash"} == set(base.as_dict())
    text = recipes.load("text_epochs10")
    changed = dataclasses.replace(text.sequences, keep=0.5)
    assert dataclasses.replace(text, sequences=changed).hash != text.hash
    hashes = {dataclasses.replace(base, **{key: value}).hash for key, value in changes.items()}
    assert len(hashes | {base.hash}) == len(changes) + 1


def test_a_recipe_for_text_has_no_words_of_images():
    recipe = recipes.load("text_epochs3")
    content = recipe.as_dict()
    assert {"flip", "crop_padding"}.isdisjoint(content) and content["sequences"]["length"] == 100
    assert recipes.from_record(content) == recipe
    assert recipe.items_per_step == 3200 and recipe.steps_per_epoch(320_033) == 100


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ("[sequences]\nkeep=0.0", "keep 0.0 is not allowed; it is more than 0, at most 1"),
        ("[sequences]\nlength=0", "length 0 is not allowed; it is at least 1"),
        ("[sequences]\nkep=0.5", "unknown key 'kep'; allowed are length, keep, clip"),
        ("flip=true", "flip and crop_padding are of images"),
        ("crop_padding=2", "flip and crop_padding are of images"),
        ("[scaled]\nlearning_rate=0.1", "scaled is of kernel sources"),
        ("[generated.embeddings]\nlearning_rate=0.1", "no rule of a part but generated.backbone"),
        ("[stored.backbone]\nlearning_rate=0.1", "no rule of a part but generated.backbone"),
    ],
)
def test_bad_recipes_for_text(tmp_path, changes, told):
    file = tmp_path / "mine.toml"
    file.write_text(f'name = "mine"\nbase = "text_epochs3"\n{changes}\n')
    with pytest.raises(recipes.RecipeError, match=re.escape(told)):
        recipes.load(str(file))
    file.write_text('name = "mine"\nbase = "text_epochs3"\n[sequences]\nkeep = 0.5\n')
    assert recipes.load(str(file)).sequences == recipes.Sequences(100, 0.5, 1.0)
    file.write_text('name = "mine"\nbase = "epochs3"\n[sequences]\nlength = 5\n')
    with pytest.raises(recipes.RecipeError, match="sequences are of text, base epochs3 is of"):
        recipes.load(str(file))


def test_hashes_of_committed_records_stay():
    assert len(RECORDS) > 90
    seen = set()
    for path in RECORDS:
        recipe = json.loads(path.read_text())["recipe"]
        assert recipes.from_record(recipe).hash == recipe["hash"], path
        seen.add((recipe["name"], recipe["hash"]))
    listed = set()
    for name, hashes in HASHES.items():
        listed.update((name, value) for value in hashes)
    assert len(listed) == 36 and listed <= seen


@pytest.mark.parametrize(
    "name, expected",
    [
        ("paper", "7da1f0027c9e7755"),
        ("fast", "d07382374226daf1"),
        ("quick", "6459a89106d3abfc"),
        ("quick8", "da97c8ed5ddffe40"),
        ("quick15", "ce6a015a24536c8a"),
        ("epochs30", "6556fd9725e33f34"),
        ("study5", "03d895a85ca476b2"),
        ("study5crossed", "3fa8c02bd64fc862"),
    ],
)
def test_hashes_of_built_in_recipes_stay(name, expected):
    assert recipes.recorded(name).hash == expected


def test_former_names_are_those_of_records_alone():
    for name, now in recipes.FORMER.items():
        former, recipe = recipes.recorded(name), recipes.load(now)
        assert dataclasses.replace(former, name=now) == recipe and former.hash != recipe.hash
        assert recipes.description(name) == recipes.description(now)
        assert recipes.built_in(name) is None
        with pytest.raises(recipes.RecipeError, match=f"unknown recipe '{name}'; now {now}; allow"):
            recipes.load(name)
    assert recipes.recorded("epochs7") == recipes.load("epochs7")
    assert recipes.recorded("mine") is None


def test_a_hash_is_of_plain_text():
    """The text that is hashed, written out once: no rules of parts, no third block, sorted keys."""
    block = (
        '{"betas": [0.9, 0.999], "l2": 0.0, "learning_rate": 1.0, "milestones": [[5, 0.1]], '
        '"momentum": 0.9, "optimizer": "sgd", "schedule": "steps", "steps": null, "warmup": 0.05}'
    )
    text = (
        '{"batch_size": 128, "compile": "auto", "crop_padding": 4, "epochs": 2, '
        f'"generated": {block}, "name": "a", "precision": "auto", "stored": {block}}}'
    )
    made = recipes.Block("sgd", 1, 0, schedule="steps", milestones=[[5, 0.1]])
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert recipes.Recipe("a", 2, stored=made, generated=made).hash == expected


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"crop_padding": 17},
        {"precision": "fp23"},
        {"compile": "on"},
        {"name": "a/b"},
        {"scaled": recipes.Block("adam", 0.1, 0.0)},
    ],
)
def test_recipes_made_in_python_are_checked_too(change):
    with pytest.raises(ValidationError):
        dataclasses.replace(recipes.load("epochs10"), **change)


def test_rules_by_part():
    block = recipes.load("epochs10").as_dict()["scaled"]
    assert recipes.rules(block) == {"block": block, "backbone": block["backbone"]}
    assert recipes.optimizer_names("scaled", block) == "scaled sgd, backbone sgd"
    assert recipes.rules({"optimizer": "adam"}) == {"block": {"optimizer": "adam"}}
    assert recipes.optimizer_names("generated", {"optimizer": "adam"}) == "adam"


def test_a_rule_of_the_backbone_changes_the_hash_and_none_leaves_it():
    base = recipes.varied(recipes.load("epochs10"), "quick", {"generated": {"backbone": None}})
    ruled = [
        recipes.varied(base, "quick", {"generated": {"backbone": {"learning_rate": rate}}})
        for rate in (0.1, 0.2)
    ]
    assert len({base.hash, *(recipe.hash for recipe in ruled)}) == 3
    rule = ruled[0].generated.backbone
    assert (rule.optimizer, rule.learning_rate) == (base.generated.optimizer, 0.1)
    assert recipes.from_record(ruled[0].as_dict()) == ruled[0]
    assert recipes.differences(ruled[1].as_dict(), ruled[0].as_dict()) == {
        "generated.backbone.learning_rate": 0.2
    }
    without = recipes.differences(base.as_dict(), ruled[0].as_dict())
    assert without["generated.backbone.learning_rate"] is None
    assert recipes.differences(ruled[0].as_dict() | {"steps": 3}, base.as_dict()) == {
        "generated.backbone.learning_rate": 0.1
    }
    # What a rule or a block does not say is what lies beside it in the same file.
    block = {
        "optimizer": "sgd",
        "learning_rate": 0.3,
        "momentum": 0.8,
        "backbone": {"learning_rate": 0.1},
    }
    rule = recipes.varied(base, "quick", {"generated": block}).generated.backbone
    assert (rule.optimizer, rule.learning_rate, rule.momentum) == ("sgd", 0.1, 0.8)
    made = recipes.varied(
        recipes.load("epochs5_adam"), "x", {"scaled": {"warmup": 0.1}, "stored": {"l2": 1e-3}}
    )
    assert (made.scaled.l2, made.scaled.warmup, made.scaled.learning_rate) == (1e-3, 0.1, 0.2)
    # A record from before there were such rules.
    old = {
        "name": "old",
        "epochs": 5,
        "stored": {"optimizer": "sgd", "learning_rate": 0.2, "l2": 5e-4, "warmup": 0.2},
        "generated": {
            "optimizer": "adam",
            "learning_rate": 0.06,
            "l2": 5e-6,
            "warmup": 0.3,
            "backbone": None,
        },
    }
    assert recipes.from_record(old | {"name": "study5"}).hash == "03d895a85ca476b2"


def test_every_built_in_is_described():
    assert set(recipes.DESCRIPTIONS) == {"epochs<N>", "text_epochs<N>", *recipes.RECIPES}


def test_epochs_of_any_number_share_their_blocks():
    default = recipes.load("epochs10")
    assert (
        recipes.default_name("cifar10") == "epochs10" and recipes.default_name("digits") == "demo"
    )
    for count in (1, 30, 200):
        recipe = recipes.load(f"epochs{count}")
        assert (recipe.name, recipe.epochs) == (f"epochs{count}", count)
        assert dataclasses.replace(recipe, name="epochs10", epochs=10) == default
        assert str(count) in recipes.description(recipe.name)
    for text in ("epochs0", "epochs-1", "epochs", "epochs030", "epochs1.5", "epochs\u0663"):
        with pytest.raises(recipes.RecipeError, match="unknown recipe"):
            recipes.load(text)


def test_a_file_may_vary_epochs_but_not_take_its_name(tmp_path):
    assert (
        recipes.load(write(tmp_path, 'name="a"\nbase="epochs30"\n[stored]\nl2=1e-3')).epochs == 30
    )
    with pytest.raises(recipes.RecipeError, match="taken by a built-in"):
        recipes.load(write(tmp_path, 'name="epochs7"\nbase="epochs30"'))


def write(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return str(file)


def test_toml(tmp_path):
    block = '[generated]\nlearning_rate=1\nmilestones=[[5, 0.1]]\nschedule="steps"\n'
    text = f'name="mine"\nbase="epochs10"\nepochs=3\n{block}'
    recipe = recipes.load(write(tmp_path, text))
    assert (recipe.name, recipe.epochs, recipe.generated.learning_rate) == ("mine", 3, 1.0)
    assert recipe.generated.milestones == ((5, 0.1),)
    assert recipe.stored == recipes.load("epochs10").stored


@pytest.mark.parametrize(
    "text, message",
    [
        ('base="epochs10"', "name is missing"),
        ('name="quick"\nbase="epochs10"', "taken by a built-in"),
        ('name="a"\nbase="quick"', r"base 'quick'.*now epochs10"),
        ('name="a"\nbase="epoch10"', "base 'epoch10'.*nearest: epochs"),
        ('name="a"\nbase="epochs10"\nepoch=3', "unknown key 'epoch'.*nearest: epochs"),
        ('name="a"\nbase="epochs10"\nepochs=0', "epochs 0"),
        ('name="a"\nbase="epochs10"\nepochs="3"', "epochs '3' is not of type int"),
        ('name="a"\nbase="epochs10"\nepochs=true', "epochs True"),
        ('name="a"\nbase="epochs10"\nhash="x"', "unknown key 'hash'"),
        (
            'name="a"\nbase="epochs10"\ncrop_padding=17',
            "crop_padding 17 is not allowed; it is 0 to 16",
        ),
        ('name="a"\nbase="epochs10"\nflip="no"', "flip 'no' is not allowed; it is true or false"),
        ('name="a"\nbase="epochs10"\nflip=1', "flip 1 is not allowed; it is true or false"),
        (
            'name="a"\nbase="epochs10"\n[stored]\nwarmup=1',
            r"warmup 1 is not allowed; it is in \[0, 1\)",
        ),
        (
            'name="a"\nbase="epochs10"\n[stored]\nmilestones=[[5, 0.1], [3, 0.1]]',
            r"milestones \[\[5, 0.1\], \[3, 0.1\]\] is not allowed; it is .*steps rising",
        ),
        (
            'name="a"\nbase="epochs10"\n[stored]\nbetas=[0.9]',
            r"betas \[0.9\] is not allowed; it is two",
        ),
        ('name="a"\nbase="epochs10"\n[stored]\nlearning_rate=nan', "learning_rate nan"),
        (
            'name="a"\nbase="epochs10"\n[stored]\nlearning_rate=inf',
            "learning_rate inf is no finite number",
        ),
        ('name="a"\nbase="epochs10"\n[stored]\noptimizer="sdg"', "optimizer 'sdg'.*nearest: sgd"),
        (
            'name="a"\nbase="epochs10"\n[scaled.embeddings]\noptimizer="adam"',
            "optimizer of scaled gradients 'adam'",
        ),
        ('name="a"\nbase="epochs10"\n[stored.embeddings]\nlearning_rate=1', "no embeddings"),
        ('name="a"\nbase="epochs10"\nscaled=3', "scaled 3 is not a table"),
        (
            'name="a"\nbase="epochs10"\n[scaled]\noptimizer="adam"',
            "optimizer of scaled gradients 'adam'.*choose from sgd",
        ),
        ('name="a"\nbase="epochs10"\n[stored]\nbackbone=1', "backbone 1 is not a table"),
        (
            'name="a"\nbase="epochs10"\n[stored.backbone]\nl2=0.1',
            "unknown key 'l2'; allowed are optimizer, learning_rate",
        ),
        (
            'name="a"\nbase="epochs10"\n[generated.embeddings]\nlearning_rate=0',
            "learning_rate 0 is .* more than 0",
        ),
        ('name="../a"\nbase="epochs10"', "name '../a' is not allowed; it is made of letters"),
        ("name=", "Invalid value"),
        ('name="a"\nbase="paper"\nepochs=5', "epochs 5 has no effect: stored.steps is 140000"),
        (
            'name="a"\nbase="paper"\n[stored]\nwarmup=0.3',
            "stored.warmup 0.3 has no effect: stored.schedule is 'steps'",
        ),
        (
            'name="a"\nbase="epochs10"\n[scaled]\nmilestones=[[5, 0.1]]',
            "scaled.milestones .* has no effect: scaled.schedule is 'cosine'",
        ),
        (
            'name="a"\nbase="text_epochs10"\n[generated]\nmomentum=0.5',
            "generated.momentum 0.5 has no effect: generated.optimizer is 'adam'",
        ),
        (
            'name="a"\nbase="epochs10"\n[scaled.backbone]\nbetas=[0.5, 0.9]',
            "scaled.backbone.betas .* has no effect: scaled.backbone.optimizer is 'sgd'",
        ),
    ],
)
def test_bad_toml(tmp_path, text, message):
    with pytest.raises(recipes.RecipeError, match=message):
        recipes.load(write(tmp_path, text))


def test_steps_beside_epochs_are_meant(tmp_path):
    text = 'name="a"\nbase="paper"\nepochs=5\n[stored]\nsteps=10\n[generated]\nsteps=20'
    recipe = recipes.load(write(tmp_path, text))
    assert [recipe.total_steps(kind, 351) for kind in ("stored", "generated")] == [10, 20]


@pytest.mark.parametrize(
    "name, near",
    [
        ("epoch10", "epochs10"),
        ("10epochs", "epochs10"),
        ("Epochs-30", "epochs30"),
        ("papr", "paper"),
        ("Demo", "demo"),
        ("epochs5crossed", "epochs5_crossed"),
    ],
)
def test_near_names_of_recipes(name, near):
    with pytest.raises(recipes.RecipeError, match=f"unknown recipe '{name}'; nearest: {near};"):
        recipes.load(name)


def test_a_name_that_is_near_none():
    with pytest.raises(recipes.RecipeError, match="; allowed are epochs<N> "):
        recipes.load(f"epochs{'9' * 9000}")
    with pytest.raises(
        recipes.RecipeError,
        match=r"unknown recipe 'zzz'; allowed are epochs<N> \(N from 1 to 99999\), ",
    ):
        recipes.load("zzz")
