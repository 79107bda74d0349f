"""Draw the figures of ``concepts.md``, in about a minute: ``python docs/concepts_figures.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import scgrn_tl as sg
from scgrn_tl.pl._palette import BLACK, BLUE, GREY, VERMILLION
from scgrn_tl.pl._quiet_axes import PAGE, SMALL, TEXT, TITLE, quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from scgrn_tl.core.split import EdgeSplit

STATIC = Path(__file__).parent / "_static"


def titled(ax: Axes, title: str) -> None:
    quiet(ax)
    ax.set_title(title, fontsize=TITLE, loc="left", color=BLACK)


def attention_sums(adata: AnnData) -> Figure:
    """Which cells a gene's embedding is made of: weights relative to a plain mean."""
    attention = np.asarray(adata.obsm["scbert_attention"])  # (N, T)
    genes = np.array(adata.uns["scbert"]["genes"])
    weights = attention / attention.sum(axis=0)  # (N, T), columns sum to 1
    relative = weights * adata.n_obs
    counts = np.log1p(adata[:, genes].layers["counts"].toarray())  # (N, T)
    spread = relative.std(axis=0)
    shown = np.argsort(-spread)[np.linspace(0, len(genes) - 1, 16).astype(int)]
    cells = np.argsort(adata.obs["state"].cat.codes.to_numpy(), kind="stable")

    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(PAGE, 2.5), width_ratios=[1.35, 1, 1], layout="constrained"
    )
    image = left.imshow(
        relative[cells][:, shown], aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=0.5, vmax=1.5
    )
    left.set_xticks(range(len(shown)), genes[shown], rotation=90, fontsize=SMALL)
    sizes = adata.obs["state"].value_counts(sort=False)
    ends = np.cumsum(sizes.to_numpy())
    left.set_yticks(ends - sizes.to_numpy() / 2, sizes.index)
    for end in ends[:-1]:
        left.axhline(end - 0.5, color=BLACK, linewidth=0.6)
    titled(left, "Cells × genes")
    bar = figure.colorbar(image, ax=left, shrink=0.8, ticks=[0.5, 1, 1.5])
    bar.ax.tick_params(labelsize=SMALL, width=0.6, length=2)
    bar.outline.set_linewidth(0.6)
    bar.set_label("weight ÷ that of a plain mean", fontsize=SMALL)

    gene = int(np.argmax(spread))
    middle.scatter(counts[:, gene], relative[:, gene], s=5, color=BLUE, alpha=0.5, linewidths=0)
    middle.axhline(1, color=GREY, linewidth=0.6)
    middle.set_xlabel("log(1 + count)")
    middle.set_ylabel("weight ÷ that of a plain mean")
    titled(middle, f"{genes[gene]}, the most uneven")

    effective = 1 / (weights**2).sum(axis=0)
    right.hist(effective, bins=np.arange(330, 401, 5), color=BLUE)
    right.axvline(adata.n_obs, color=GREY, linewidth=0.6)
    right.set_xlabel(f"effective number of cells, of {adata.n_obs}")
    right.set_ylabel("genes")
    titled(right, "All genes")
    return figure


def reading_a_score(adata: AnnData, split: EdgeSplit) -> Figure:
    """What of a pair's log-odds its two genes' hub rates give, and what is its own."""
    pairs, labels = split.test.pairs, split.test.labels
    probability, specificity = (
        np.asarray(adata.varp[key][pairs[:, 0], pairs[:, 1]]).ravel() for key in ("grn", "grn_specificity")
    )
    log_odds = np.log(probability / (1 - probability))
    hub = log_odds - specificity

    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 3.2), width_ratios=[1.3, 1], layout="constrained")
    for is_edge, color, name in ((False, GREY, "no edge"), (True, VERMILLION, "edge")):
        of = labels == is_edge
        left.scatter(
            hub[of], log_odds[of], s=9 if is_edge else 4, color=color, alpha=0.75 if is_edge else 0.4, linewidths=0,
            label=f"{name} ({of.sum():,})",
        )  # fmt: skip
    ends = np.array([min(hub.min(), log_odds.min()), max(hub.max(), log_odds.max())])
    left.plot(ends, ends, color=BLACK, linewidth=0.6, zorder=0)
    ticks = np.array([0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99])
    ticks = ticks[(np.log(ticks / (1 - ticks)) >= ends[0]) & (np.log(ticks / (1 - ticks)) <= ends[1])]
    for axis in (left.xaxis, left.yaxis):
        axis.set_ticks(np.log(ticks / (1 - ticks)), [f"{tick:g}" for tick in ticks])
    mark_two_kinds(left, adata, pairs, hub, log_odds)
    left.set_xlabel("probability by the hub rates of the two genes alone")
    left.set_ylabel("probability")
    titled(left, "Held-out pairs")
    left.legend(fontsize=SMALL, frameon=False, loc="lower right", handletextpad=0.2)

    table = adata.uns["grn"]["metrics"].query("part == 'test'").set_index("method")
    chance = {"auroc": 0.5, "auprc": labels.mean(), "tf_auroc": 0.5}
    for at, (metric, level) in enumerate(chance.items()):
        for method, name, offset, color in (
            ("hub_floor", "hub floor", -0.18, GREY),
            ("sctransnet", "scTransNet", 0.18, BLUE),
        ):
            value = table.loc[method, metric]
            right.bar(at + offset, value, width=0.34, color=color, label=name)
            right.text(at + offset, max(value, level) + 0.01, f"{value:.2f}", ha="center", fontsize=SMALL)
        right.plot([at - 0.4, at + 0.4], [level, level], color=BLACK, linewidth=0.8, label="chance")
    handles, names = right.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    right.set_xticks(range(3), ["AUROC", "AUPRC", "AUROC\nwithin a TF"])
    right.set_ylim(0, 1)
    titled(right, "The same pairs, judged")
    right.legend(once.values(), once.keys(), fontsize=SMALL, frameon=False, loc="upper right")
    return figure


def mark_two_kinds(ax: Axes, adata: AnnData, pairs: np.ndarray, hub: np.ndarray, log_odds: np.ndarray) -> None:
    """Name the pair that owes most to hubs among the likely ones, and the one that owes most to itself."""
    likely = np.flatnonzero(log_odds >= np.quantile(log_odds, 0.98))
    own = log_odds - hub
    names = adata.var_names
    for at, text, shift in (
        (likely[np.argmin(np.abs(own[likely]))], "what its hubs give", (16, -26)),
        (likely[np.argmax(own[likely])], "much beyond its hubs", (14, 6)),
    ):
        pair = " → ".join(names[pairs[at]])
        ax.annotate(
            f"{pair}\n{text}", (hub[at], log_odds[at]), shift, textcoords="offset points", fontsize=TEXT, color=BLACK,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": BLACK},
        )  # fmt: skip


def main() -> None:
    adata = sg.datasets.simulated(rng=0)
    truth = adata.uns["ground_truth"]
    split = sg.bm.split_edges(sg.core.PriorNetwork.from_any(truth, adata.var_names), rng=0)
    sg.tl.fit_grn(adata, truth, use_rep=None, layer="counts", split=split, n_models=4, rng=0)
    reading_a_score(adata, split).savefig(STATIC / "reading_a_score.png", dpi=200)
    sg.tl.scbert_embed(adata, weights="fit", layer="counts")
    attention_sums(adata).savefig(STATIC / "attention_sums.png", dpi=200)
    print(adata.uns["grn"]["metrics"][["method", "part", "auroc", "auprc", "tf_auroc"]])


if __name__ == "__main__":
    main()
