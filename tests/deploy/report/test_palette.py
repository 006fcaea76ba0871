"""Lines can be told apart without colour, and colours can be seen on both backgrounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.report.palette import COOL, WARM, model_styles

if TYPE_CHECKING:
    from edgeq.deploy.report import Report


def luminance(color: str) -> float:
    """Relative luminance of sRGB, as the Web Content Accessibility Guidelines define it."""
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("color", COOL + WARM)
@pytest.mark.parametrize("paper", ["#ffffff", "#171c21"])
def test_every_colour_has_contrast_on_white_and_on_dark(color: str, paper: str) -> None:
    darker, lighter = sorted((luminance(color), luminance(paper)))
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_no_two_networks_look_alike(report: Report) -> None:
    styles = model_styles(report)
    assert len(styles) == 6
    assert len(set(styles.values())) == 6


def test_stable_and_original_differ_in_more_than_colour(report: Report) -> None:
    styles = model_styles(report)
    stable, original = styles["Stable ResNet56", "4W/4A"], styles["ResNet56", "4W/4A"]
    assert (stable.dash, original.dash) == ("solid", "dash")
    assert original.symbol == f"{stable.symbol}-open"
