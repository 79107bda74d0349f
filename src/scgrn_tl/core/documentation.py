"""Where the documentation is, for errors, warnings and commands to name the page that says more."""

from __future__ import annotations

from typing import Final

__all__ = ["DOCUMENTATION", "page_address"]

DOCUMENTATION: Final = "https://scgrn-tl.readthedocs.io/en/stable/"


def page_address(page: str) -> str:
    """Where a page is to be read: ``"gene-names"`` (``docs/gene-names.md``), or ``"faq#a-heading"`` of one."""
    name, hash_sign, heading = page.partition("#")
    return f"{DOCUMENTATION}{name}.html{hash_sign}{heading}"
