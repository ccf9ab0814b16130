"""The colour and the marker of each family of models, the same in figures and on the page to
explore."""

from typing import NamedTuple

BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#cc79a7", "#e69f00", "#56b4e9"
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
"""Those of Okabe and Ito, safe for the colour-blind, that show on white and on black."""
CROSSED = (
    "M-.85,-.5L-.5,-.85L0,-.35L.5,-.85L.85,-.5L.35,0L.85,.5L.5,.85L0,.35L-.5,.85L-.85,.5L-.35,0Z"
)
STAR = "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"


class Look(NamedTuple):
    """A colour, a marker of matplotlib, and the same shape for Vega."""

    colour: str
    marker: str
    shape: str


LOOKS = {
    "plain": Look("#000000", "o", "circle"),
    "hyper": Look(BLUE, "D", "diamond"),
    "template": Look(RED, "s", "square"),
    "stage_template": Look(RED, "<", "triangle-left"),
    "basis": Look(GREEN, "^", "triangle-up"),
    "shared": Look(GREEN, "s", "square"),
    "hashed": Look(PURPLE, "v", "triangle-down"),
    "multihash": Look(PURPLE, "D", "diamond"),
    "tucker": Look(ORANGE, "P", "cross"),
    "separable": Look(ORANGE, ">", "triangle-right"),
    "chunked": Look(SKY, "X", CROSSED),
    "subspace": Look(SKY, "o", "circle"),
    "foreign": Look("#999999", "*", STAR),
}
"""By family; no two look the same."""
