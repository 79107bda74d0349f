"""A model card: what a fitted scTransNet is, what it was fitted to, and how good it is, as Markdown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scgrn_tl.core.embedding_source import EmbeddingSource

    from .fitted_state import FittedState

__all__ = ["model_card"]

_FRONT = """---
library_name: scgrn_tl
tags:
- gene regulatory network
- single-cell RNA-seq
---
"""

_LOAD = """\
```python
import scgrn_tl as sg

model = sg.models.ScTransNet.load("{folder}")
model.score([({source!r}, {target!r})])  # logits of pairs of its own genes
table = model.score(adata)  # probabilities of another dataset's genes
sg.tl.transfer_grn(adata, model)  # the same, into varp["grn"], as sg.tl.fit_grn writes it
```
"""

_CITATION = """\
Kommu S., Wang Y., Wang Y., Wang X. (2024). Gene Regulatory Network Inference from Pre-trained Single-Cell
Transcriptomics Transformer with Joint Graph Learning. ICML 2024 Workshop on AI for Science.
"""

_CITATION_SCBERT = """
Gene embeddings: Yang F. et al. (2022). scBERT as a large-scale pretrained deep language model for cell type annotation
of single-cell RNA-seq data. Nature Machine Intelligence 4, 852–866.
"""


def model_card(state: FittedState) -> str:
    """The card of a fitted model; nothing in it but what the model knows of itself."""
    parts = [
        _FRONT,
        "# A gene regulatory network model (scTransNet)\n",
        _what_it_is(state),
        "## Data\n",
        _data(state),
        "## Known edges (prior network)\n",
        _prior(state),
        "## Training\n",
        _training(state),
        "## How good it is\n",
        _quality(state),
        "## Limits\n",
        _limits(state),
        "## How to load it\n",
        _LOAD.format(folder="path/to/this/folder", source=state.regulators[0], target=_another_gene(state)),
        "## Citation\n",
        _CITATION + (_CITATION_SCBERT if any(source.encoder_sha256 for source in state.sources) else ""),
        "## Versions\n",
        ", ".join(f"{name} {number}" for name, number in state.versions.items()) + "\n",
    ]
    return "\n".join(parts)


def _what_it_is(state: FittedState) -> str:
    members = f"{len(state.members)} networks, averaged," if len(state.members) > 1 else "One network"
    read = ["expression"] if state.reads_expression else []
    read += ["known edges"] if state.config.use_gnn or state.config.hub_terms else []
    read += ["gene embeddings"] if state.inputs.embedding is not None else []
    text = _paragraph(
        f"{members} of the scTransNet architecture. From what is known of a transcription factor and a gene "
        f"({_listed(read)}), it says how likely the one regulates the other. It was fitted to "
        f"{len(state.regulators):,} regulators and {len(state.genes):,} genes of one dataset. {_fitted_before(state)}"
    )
    return f"{state.description.strip()}\n\n{text}" if state.description.strip() else text


def _fitted_before(state: FittedState) -> str:
    """What of a score the networks did not learn, in a sentence; nothing of a model without it."""
    if not state.config.hub_terms:
        return ""
    parts = "a term of every regulator and of every target"
    if state.inputs.loadings is not None:
        parts += f", and {state.inputs.loadings.shape[1]} latent factors of regulators that share targets"
    told = ", read from genes that are expressed alike too" if state.inputs.by_expression is not None else ""
    return f"Part of every score is a fit to known edges that was made beforehand: {parts}{told}."


def _data(state: FittedState) -> str:
    rows: list[tuple[str, Any]] = [
        ("cells", _count(state.data.get("n_cells"))),
        ("genes", f"{len(state.genes):,} ({_some(state.genes)})"),
        ("regulators", f"{len(state.regulators):,} ({_some(state.regulators)})"),
    ]
    if state.inputs.embedding is None:
        rows.append(("gene embedding", "none"))
    elif not state.sources:
        rows.append(("gene embedding", "one, of unknown origin"))
    rows += [("gene embedding", _embedding(source)) for source in state.sources]
    return _table(rows)


def _embedding(source: EmbeddingSource) -> str:
    name = "unnamed" if source.key is None else f"`varm[{source.key!r}]`"
    known = [f"{name}, {source.width} wide"]
    if source.encoder_sha256 is not None:
        known.append(f"by the encoder {source.encoder or 'without a name'} (SHA-256 `{source.encoder_sha256}`)")
    if source.pooled_by is not None:
        known.append(f"pooled over cells by {source.pooled_by}")
    if source.sha256 is not None:
        known.append(f"SHA-256 of its vectors `{source.sha256}`")
    return "; ".join(known)


def _prior(state: FittedState) -> str:
    signs = state.prior.sign
    dropped = [f"{count:,} {name.replace('_', ' ')}" for name, count in state.prior.report.items() if count]
    validation = state.data.get("n_validation_edges")
    rows: list[tuple[str, Any]] = [
        ("edges trained on", f"{state.prior.n_edges:,} of {len(state.prior.regulators):,} regulators"),
        ("of known sign", f"{int((signs > 0).sum()):,} activate, {int((signs < 0).sum()):,} repress"),
        ("edges held out to validate on", _count(validation)),
        ("what was given", ", ".join(dropped) or "not recorded"),
        ("SHA-256 of the edges trained on", f"`{state.prior.sha256()}`"),
    ]
    return _table(rows)


def _training(state: FittedState) -> str:
    epochs = [len(member.history.get("train_loss", [])) for member in state.members]
    rows: list[tuple[str, Any]] = [
        ("training pairs", _count(state.data.get("n_training_pairs"))),
        ("networks", len(state.members)),
        ("epochs run", ", ".join(map(str, epochs))),
        ("epoch kept", ", ".join(str(member.best_epoch) for member in state.members)),
        ("seed (drawn from `rng`)", state.seed),
    ]
    joint = bool(state.data.get("joint"))
    settings = [
        f"{name}={getattr(state.config, name)!r}"
        for name in state.config.__dataclass_fields__
        if joint or not name.startswith("joint_")
    ]
    parts = [_table(rows), _effects(state), _paragraph(f"Hyper-parameters: {', '.join(settings)}.")]
    return "\n".join(part for part in parts if part)


def _effects(state: FittedState) -> str:
    """How the effects of pairs were fitted, and what that left to the networks."""
    inputs = state.inputs
    if not state.config.hub_terms:
        return ""
    if inputs.loadings is None and inputs.by_expression is None:
        return _paragraph(
            "Terms of regulators and targets were fitted first: hub rates, a two-way logistic model with random "
            "effects of the training pairs. The networks learned on top of them."
        )
    what = "terms of regulators and of targets"
    if inputs.loadings is not None:
        variance = state.data.get("factor_variance")  # not in folders of before it was chosen
        of_variance = "" if variance is None else f" (of variance {variance:g}, by left-out pairs)"
        what += f", and {inputs.loadings.shape[1]} latent factors{of_variance}"
    alike = " that are correlated between genes that are expressed alike" if inputs.by_expression is not None else ""
    learned = "The networks learned what it leaves, of each pair by a fit without the pair."
    if not any(member.history.get("train_loss") for member in state.members):
        learned = "There was nothing further to read, so that this fit is all there is."
    return _paragraph(
        f"Fitted first, to the training pairs alone: {what}; by a logistic model with random effects{alike}. {learned}"
    )


def _quality(state: FittedState) -> str:
    found, summary = state.summary.validation, state.summary
    if not found:
        return "No validation pairs of both classes were held out, or the file does not tell: nothing is known.\n"
    own, floor = found["sctransnet"], found["hub_rates"]
    scaling = summary.calibration
    introduction = _paragraph(
        f"On the {found['n_pairs']:,} validation pairs, {found['n_edges']:,} of them edges. The epoch was chosen and "
        "the calibration fitted on these same pairs: on pairs never used, expect a little less."
    )
    table = [
        "| | this model | hub rates alone | at random |",
        "| --- | --- | --- | --- |",
        f"| AUROC | {_number(own, 'auroc')} | {_number(floor, 'auroc')} | 0.500 |",
        f"| AUPRC | {_number(own, 'auprc')} | {_number(floor, 'auprc')} | {found['n_edges'] / found['n_pairs']:.3f} |",
        f"| AUROC within a TF, mean | {_number(own, 'tf_auroc')} | {_number(floor, 'tf_auroc')} | 0.500 |",
        f"| Brier score | {_number(own, 'brier')} | | |",
        f"| expected calibration error | {_number(own, 'ece')} | | |",
        "",
    ]
    explanation = _paragraph(
        "Hub rates alone: how often each gene regulates and is regulated among the training pairs, without expression "
        "and without a graph. What the model has beyond them is what it learned of single pairs."
    )
    sign = "−" if scaling.intercept < 0 else "+"
    equation = (
        f"Calibration (Platt scaling, fitted on {summary.fitted_on}): "
        f"P = 1 / (1 + exp(−({scaling.slope:.4g} · logit {sign} {abs(scaling.intercept):.4g}))).\n"
    )
    return "\n".join([introduction, *table, explanation, equation])


def _limits(state: FittedState) -> str:
    fitted_on = state.summary.fitted_on
    calibration = "Probabilities are calibrated to the share of edges among validation pairs; elsewhere it may differ."
    if fitted_on != "validation":
        calibration = f"Probabilities are not calibrated (fitted on: {fitted_on})."
    hubs = "Much of a score is how often either gene regulates or is regulated in training; `specificity` is the rest."
    if state.inputs.loadings is not None:
        hubs = hubs.replace("is the rest.", "is the rest, with what regulators that share targets tell of each other.")
    if not state.config.hub_terms:
        hubs = "How often genes regulate and are regulated in training is not told apart from the rest of a score."
    others = (
        "Of other data, genes are matched by name; those that were not in training can be scored, less reliably. The "
        "data have to be normalised as these were, and gene embeddings be of the same encoder."
    )
    if state.scales is None:
        others = "The file is of an older version: only pairs of its own genes can be scored."
    elif state.reads_expression and state.config.gene_features == "expression":
        others = "It reads the very cells it was fitted to (gene_features='expression'): no other data can be scored."
    limits = [
        "A probability says how likely the edge is to be in a network like the one it learned from: what its makers "
        "looked for, and where. A pair outside of it counted as no edge, known or not.",
        calibration,
        hubs,
        others,
        "An edge is a statistical statement. It proves neither that the TF binds nor that the effect is direct. "
        "Whether it activates or represses, the model does not say.",
    ]
    return "".join(_paragraph(text, first="- ", then="  ") for text in limits)


def _paragraph(text: str, *, first: str = "", then: str = "") -> str:
    return textwrap.fill(text, 100, initial_indent=first, subsequent_indent=then, break_long_words=False) + "\n"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _table(rows: list[tuple[str, Any]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def _number(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else ""


def _count(number: int | None) -> str:
    return "not recorded" if number is None else f"{number:,}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _another_gene(state: FittedState) -> str:
    return next((gene for gene in state.genes if gene != state.regulators[0]), state.genes[0])
