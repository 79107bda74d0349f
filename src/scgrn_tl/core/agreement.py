"""How far two embeddings of the same genes agree, two networks, and how well cells' batches can be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import ArgumentError

if TYPE_CHECKING:
    from scipy import sparse

__all__ = [
    "batch_accuracy",
    "linear_cka",
    "mean_cosine",
    "nearest_genes",
    "network_agreement",
    "shared_neighbors",
]

N_FOLDS = 5
N_COMPONENTS = 50


def mean_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over genes of the cosine between their vectors ``(T, D)``, each embedding's mean vector taken away first.

    1 where each gene lies in the same direction from the centre. Embeddings have to share their coordinates.
    """
    one, other = _centered(one), _centered(other)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    known = lengths > 0
    return float(((one * other).sum(axis=1)[known] / lengths[known]).mean()) if known.any() else float("nan")


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    r"""Linear centred kernel alignment of ``(T, D)`` and ``(T, D')`` (Kornblith et al. 2019).

    .. math:: \frac{\|Y^\top X\|_F^2}{\|X^\top X\|_F \|Y^\top Y\|_F}

    1 if the genes' similarities are proportional, however the space is turned.
    """
    one, other = _centered(one), _centered(other)
    norm = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    return float(np.linalg.norm(other.T @ one) ** 2 / norm) if norm > 0 else float("nan")


def nearest_genes(embedding: np.ndarray, k: int) -> np.ndarray:
    """``int64 (T, k)``, the k genes that lie nearest to each, by cosine once the mean vector is taken away."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, metric="cosine").fit(_centered(embedding))
    return np.asarray(search.kneighbors(return_distance=False), dtype=np.int64)


def shared_neighbors(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over genes of the share of their k nearest genes ``(T, k)`` that two embeddings have in common."""
    return float((one[:, :, None] == other[:, None, :]).any(axis=2).mean())


def network_agreement(one: sparse.csr_matrix, other: sparse.csr_matrix, n_top: int) -> dict[str, float]:
    """Agreement of two genes × genes networks over the pairs that both score.

    Returns
    -------
    ``n_pairs``; ``spearman``, the rank correlation of their scores; ``jaccard``, the overlap of the ``n_top`` edges of
    the highest score, those that tie with the last counted too; and ``jaccard_by_chance``, of sets so large drawn at
    random.

    Raises
    ------
    ArgumentError
        If both score fewer than three pairs.
    """
    from scipy.stats import spearmanr

    first, second = _scores_of_shared_pairs(one, other)
    n_pairs = len(first)
    if n_pairs < 3:
        msg = (
            f"Two networks have {n_pairs} scored pairs in common; their agreement takes at least 3. "
            "Compare networks of the same genes and regulators (`tf_names=`)."
        )
        raise ArgumentError(msg)
    constant = np.ptp(first) == 0 or np.ptp(second) == 0
    top = [scores >= np.partition(scores, -min(n_top, n_pairs))[-min(n_top, n_pairs)] for scores in (first, second)]
    expected = top[0].sum() * top[1].sum() / n_pairs
    return {
        "n_pairs": n_pairs,
        "spearman": float("nan") if constant else float(spearmanr(first, second).statistic),
        "jaccard": float((top[0] & top[1]).sum() / (top[0] | top[1]).sum()),
        "jaccard_by_chance": float(expected / (top[0].sum() + top[1].sum() - expected)),
    }


def batch_accuracy(features: np.ndarray, batches: np.ndarray, seed: int) -> np.ndarray:
    """Balanced accuracy in each of five folds of telling the ``batches`` ``int[N]`` from ``features`` ``(N, F)``.

    By logistic regression on the first fifty principal components of the standardised features. Chance is one divided
    by the number of batches, however unequal these are.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    state = seed % 2**32
    smallest_fold = len(features) - -(-len(features) // N_FOLDS) - len(np.unique(batches))
    n_components = max(1, min(N_COMPONENTS, features.shape[1], smallest_fold))
    classifier = make_pipeline(
        StandardScaler(),
        PCA(n_components, random_state=state),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=state)
    scores = cross_val_score(
        classifier, np.asarray(features, np.float64), batches, cv=folds, scoring="balanced_accuracy"
    )
    return np.asarray(scores, dtype=np.float64)


def _centered(embedding: np.ndarray) -> np.ndarray:
    embedding = np.asarray(embedding, dtype=np.float64)
    return embedding - embedding.mean(axis=0)


def _scores_of_shared_pairs(one: sparse.csr_matrix, other: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the pairs that are stored in both, as zeros too, in the same order."""
    pairs, scores = [], []
    for network in (one, other):
        entries = network.tocoo()
        pairs.append(entries.row.astype(np.int64) * network.shape[1] + entries.col)
        scores.append(np.asarray(entries.data, dtype=np.float64))
    _, first, second = np.intersect1d(pairs[0], pairs[1], assume_unique=True, return_indices=True)
    return scores[0][first], scores[1][second]
