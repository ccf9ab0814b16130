"""What names of models may have meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import naming, registry


@pytest.mark.parametrize(
    "text, name",
    [
        ("wrn_40_1", "wide_resnet40_1"),
        ("WRN-40-2", "wide_resnet40_2"),
        ("wrn40_1", "wide_resnet40_1"),
        ("WideResNet-28-10", "wide_resnet28_10"),
        ("wide-resnet-40-1", "wide_resnet40_1"),
        ("wide_resnet_40_1_projection", "wide_resnet40_1_projection"),
        ("resnet-20", "resnet20"),
        ("ResNet56", "resnet56"),
        ("hypernet40_1", "hyper_resnet40_1"),
        ("HyperNetwork-40-2", "hyper_resnet40_2"),
        ("hyper_wrn_16_1", "hyper_resnet16_1"),
        ("hyperresnet20", "hyper_resnet20"),
        ("template-resnet-40-1-100k", "template_resnet40_1_100k"),
    ],
)
def test_other_ways_to_write_a_name(text, name):
    assert naming.plain(text) == name
    with pytest.raises(registry.RegistryError, match=f"unknown model '{text}'; nearest: {name};"):
        registry.get(text)


def test_names_of_the_registry_are_plain():
    for name in registry.names():
        assert naming.plain(name) == name


def test_a_name_with_a_slip_gets_near_names():
    with pytest.raises(registry.RegistryError, match="nearest: wide_resnet40_1, "):
        registry.get("wrn_41_1")
    with pytest.raises(registry.RegistryError, match="unknown model 'zzz'; allowed are"):
        registry.get("zzz")


@given(st.text(st.sampled_from("hyperwidnts_rk-4012 .X"), max_size=24))
def test_a_plain_name_stays(text):
    assert naming.plain(naming.plain(text)) == naming.plain(text)
