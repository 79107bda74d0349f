"""Text with a halo that stays text in vector files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.patheffects import Stroke
from matplotlib.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.backend_bases import RendererBase
    from matplotlib.patheffects import AbstractPathEffect

__all__ = ["HaloText"]


class HaloText(Text):
    """Text above its own white outline.

    Matplotlib turns text with a path effect into outlines, which cannot be searched or edited as text. Here the effect
    is that of a first pass, and the letters of the second are letters.

    Parameters
    ----------
    halo
        Width of the outline in points.
    """

    def __init__(self, *args: Any, halo: float, **given: Any) -> None:
        super().__init__(*args, **given)
        self.halo = halo
        self._in_first_pass = False

    def get_path_effects(self) -> Sequence[AbstractPathEffect]:  # type: ignore[override]  # matplotlib says list
        """The outline while it is drawn, and else what was set."""
        if self._in_first_pass:
            return [Stroke(linewidth=self.halo, foreground="white")]
        return super().get_path_effects()

    def draw(self, renderer: RendererBase) -> None:
        """Draw the outline, then the letters."""
        self._in_first_pass = True
        try:
            super().draw(renderer)
        finally:
            self._in_first_pass = False
        super().draw(renderer)
