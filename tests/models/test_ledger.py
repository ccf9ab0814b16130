"""The closed forms against the papers' numbers."""

import pytest

from models import registry
from models.kernels.counts import tile_counts
from models.ledger import blocks_per_stage, kernel_shapes, resnet_kernel_shapes

PARAMETERS = {
    "wide_resnet40_1": 562_762,
    "hyper_resnet40_1": 96_602,
    "wide_resnet40_2": 2_235_530,
    "hyper_resnet40_2": 147_610,
    "wide_resnet16_1": 173_002,
    "hyper_resnet16_1": 83_162,
    "wide_resnet28_10": 36_229_642,
    "hyper_resnet28_10": 1_115_162,
    "wide_resnet40_1_projection": 563_930,
    "hyper_resnet40_1_projection": 97_770,
    "wide_resnet40_2_projection": 2_243_546,
    "hyper_resnet40_2_projection": 155_626,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "hyper_resnet20": 85_802,
    "hyper_resnet56": 104_618,
}
MACS = {
    "wide_resnet40_1": (83_018_368, 0),
    "hyper_resnet40_1": (83_018_368, 51_544_064),
    "wide_resnet40_2": (326_026_496, 0),
    "hyper_resnet40_2": (326_026_496, 205_750_272),
    "wide_resnet16_1": (26_395_264, 0),
    "wide_resnet40_1_projection": (83_280_512, 0),
    "wide_resnet40_2_projection": (327_599_360, 0),
    "wide_resnet16_1_projection": (26_657_408, 0),
    "resnet20": (40_551_040, 0),
    "hyper_resnet20": (40_551_040, 24_707_072),
    "resnet56": (125_485_696, 0),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    assert sum(registry.get(name).parameters().values()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MACS)
def test_macs(name):
    assert registry.get(name).macs() == MACS[name]


def test_classes_change_the_classifier_only():
    ten, hundred = (registry.get("hyper_resnet40_1").parameters(classes) for classes in (10, 100))
    assert {k for k in ten if ten[k] != hundred[k]} == {"classifier"}
    assert hundred["classifier"] == 65 * 100


def test_tiles_of_the_paper():
    for width, tiles in ((1, 242), (2, 966)):
        assert sum(tile_counts(kernel_shapes(40, (16 * width, 32 * width, 64 * width)))) == tiles


def test_names_are_in_forward_order():
    names = [s.name for s in kernel_shapes(16, (16, 32, 64))]
    assert names[:3] == ["stage1_block0_conv1", "stage1_block0_conv2", "stage1_block1_conv1"]
    assert len(names) == len(set(names)) == 12
    assert [s.name for s in resnet_kernel_shapes(14, (16, 32, 64))] == names


@pytest.mark.parametrize(
    "depth, outside, allowed",
    [
        (0, 4, "10, 16"),
        (4, 4, "10, 16"),
        (12, 4, "10, 16"),
        (41, 4, "10, 16"),
        (2, 2, "8, 14"),
        (18, 2, "8, 14"),
    ],
)
def test_depth_is_refused(depth, outside, allowed):
    with pytest.raises(
        ValueError, match=rf"depth {depth} is not 6n \+ {outside}; allowed are {allowed}, .*nearest"
    ):
        blocks_per_stage(depth, outside)


def test_channels_that_are_no_tiles_are_refused():
    with pytest.raises(ValueError, match="11 channels"):
        tile_counts(kernel_shapes(10, (11, 22, 44)))
