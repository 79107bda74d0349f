"""What the package says, in the words of the command line."""

from __future__ import annotations

import re

__all__ = ["in_flags"]

_CALLS = {
    "bm.run": "bench",
    "methods.show": "methods",
    "tl.fit_grn": "fit",
    "tl.infer_grn": "infer",
    "tl.scbert_embed": "embed",
}
_FLAGS = {
    "key_added": "--key",
    "kind": "--splits",
    "n_folds": "--folds",
    "n_jobs": "--jobs",
    "n_samples": "--samples",
} | {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "batch_key", "batch_size", "device", "epochs", "groupby", "hidden_to", "layer", "min_probability", "n_cells",
        "n_models", "out", "prior", "pseudotime", "resume_from", "seeds", "splits", "tf_names", "timeout", "top_n",
        "use_rep", "weights",
    )
}  # fmt: skip
_PYTHON_ALONE = (
    ", so `fit_grn` has no use for it",
    ", or hand over your own as a mapping, `splits={'mine': split}`",
    ": name them by a mapping, `{'mine': adata, …}`",
)
"""Advice that has no counterpart here."""

_CALL = re.compile(rf"sg\.({'|'.join(map(re.escape, _CALLS))})\b(?:\([^()]*\))?")
_SETTING = re.compile(rf"(?<![\w./-])({'|'.join(_FLAGS)})=(?:(['\"])(.*?)\2|(-?\w+(?:\.\d+)?))?")
_BARE = re.compile(r"(?<![\w./'-])(key_added|use_rep)(?= )")


def in_flags(text: str) -> str:
    """A message with Python's calls and arguments in it, as commands and flags.

    >>> in_flags("Use `sg.tl.fit_grn(adata, prior)` with device='cpu'.")
    'Use `scgrn-tl fit` with --device cpu.'
    """
    for phrase in _PYTHON_ALONE:
        text = text.replace(phrase, "")
    text = _CALL.sub(lambda call: f"scgrn-tl {_CALLS[call[1]]}", text)
    text = _SETTING.sub(lambda found: f"{_FLAGS[found[1]]} {found[3] or found[4] or ''}".rstrip(), text)
    return _BARE.sub(lambda found: _FLAGS[found[1]], text)
