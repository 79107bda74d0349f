"""Colours that people with any colour vision tell apart (Okabe & Ito 2008), and who wears which."""

from __future__ import annotations

from typing import Final

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "PURPLE", "SKY_BLUE", "VERMILLION"]

BLACK: Final = "#1A1A1A"
GREY: Final = "#7A7A7A"
SKY_BLUE: Final = "#56B4E9"
GREEN: Final = "#009E73"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
