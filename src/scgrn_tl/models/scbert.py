"""scBERT's encoder: a cell's binned expression in, one embedding and one attention sum per gene out (model.md §2–3)."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from scgrn_tl.core.errors import ArgumentError, WeightsError

from .checkpoint import infer_config, load_checkpoint, load_weights, read_folder, write_folder
from .favor import blocks, favor_performer, genes_in_cache
from .favor_path import favor_stream
from .scbert_config import ScBERTConfig
from .seeding import seeded_rng

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch import Tensor

    from scgrn_tl.core.genes import GeneVocabulary

__all__ = ["Encoding", "ScBERT", "ScBERTConfig"]

END_TOKEN = 0
GENES_PROJECTED = 512
"""Genes that go through the dense products of a layer at a time, at least: weights are read seldom then."""
ACCELERATOR_BLOCK_SIZE = 32_768
"""Genes times cells whose feature maps an accelerator holds at a time: enough to fill it, 0.4 GB at full size."""
KEPT_BYTES = 2**28
"""Memory on a CPU for the keys' feature maps; those that find no room are computed twice."""


class Encoding(NamedTuple):
    """What :meth:`ScBERT.encode` returns.

    Attributes
    ----------
    hidden
        ``(B, T, D)``, every gene's embedding in every cell.
    attention
        ``(B, T)``, the attention each gene receives, averaged over layers and heads; every row sums to 1.
    """

    hidden: Tensor
    attention: Tensor


class GeneEmbedding(nn.Module):
    """One vector per gene of the vocabulary and a last one for the end of the sequence (zeros in scBERT)."""

    def __init__(self, n_genes: int, dim: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(n_genes + 1, dim)

    def forward(self, positions: Tensor) -> Tensor:
        """``(T,)`` vocabulary positions → ``(T, D)``."""
        return self.emb(positions)


class ScBERT(nn.Module):
    """The encoder of Yang et al. 2022, under the names that its published checkpoint uses.

    A gene enters as the sum of its expression bin's embedding and its gene vector (gene2vec in the published encoder).
    L pre-LayerNorm Performer layers and a LayerNorm follow. One more position (bin 0, last gene vector) ends every
    sequence; this class adds and drops it itself.

    Parameters
    ----------
    config
        Shape of the encoder.

    Notes
    -----
    A new encoder has fixed random weights that do not depend on torch's global state; :meth:`initialize` draws others.

    Examples
    --------
    >>> import torch
    >>> model = ScBERT(ScBERTConfig(n_genes=50, dim=16, depth=2, heads=2, dim_head=8))
    >>> hidden, attention = model.encode(torch.zeros(3, 50, dtype=torch.int64))
    >>> hidden.shape, attention.shape
    (torch.Size([3, 50, 16]), torch.Size([3, 50]))
    """

    def __init__(self, config: ScBERTConfig) -> None:
        super().__init__()
        self.config = config
        with seeded_rng(0):
            self.token_emb = nn.Embedding(config.n_tokens, config.dim)
            self.pos_emb = GeneEmbedding(config.n_genes, config.dim)
            self.performer = favor_performer(
                dim=config.dim,
                depth=config.depth,
                heads=config.heads,
                dim_head=config.dim_head,
                ff_mult=config.ff_mult,
                n_features=config.n_features,
            )
            self.norm = nn.LayerNorm(config.dim)
            self.to_out = nn.Linear(config.dim, config.n_tokens)
        with torch.no_grad():
            self.pos_emb.emb.weight[-1] = 0

    def __repr__(self) -> str:
        c = self.config
        return (
            f"ScBERT({c.n_genes:,} genes, {c.depth} layers × {c.heads} heads, {c.dim} wide, "
            f"{self.n_parameters:,} parameters, {self.device})"
        )

    @property
    def n_parameters(self) -> int:
        """Number of parameters, gene vectors included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_emb.weight.device

    @property
    def gene_vectors(self) -> Tensor:
        """``(n_genes, D)``, the vectors added to the expression embedding (gene2vec in the published encoder)."""
        return self.pos_emb.emb.weight[:-1]

    def initialize(self, generator: torch.Generator, gene_vectors: Tensor | None = None) -> ScBERT:
        """Draw all weights anew: PyTorch's default schemes, orthogonal random features as performer-pytorch draws them.

        Parameters
        ----------
        generator
            Where the randomness comes from. Torch's global state is neither used nor changed.
        gene_vectors
            ``(n_genes, D)``, to use in place of random gene vectors.

        Returns
        -------
        The model itself.

        Raises
        ------
        ArgumentError
            If ``gene_vectors`` has another shape.
        """
        if gene_vectors is not None and gene_vectors.shape != self.gene_vectors.shape:
            msg = f"gene_vectors has shape {tuple(gene_vectors.shape)}; expected {tuple(self.gene_vectors.shape)}."
            raise ArgumentError(msg)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with seeded_rng(seed, self.device):
            for module in self.modules():
                if isinstance(module, nn.Embedding | nn.Linear | nn.LayerNorm):
                    module.reset_parameters()
            for attention, _ in self.performer.net.layers:
                attention.fn.fast_attention.redraw_projection_matrix(self.device)
        with torch.no_grad():
            self.pos_emb.emb.weight[-1] = 0
            if gene_vectors is not None:
                self.pos_emb.emb.weight[:-1] = gene_vectors
        return self

    # ------------------------------------------------------------------------------------------------ in training

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, *, added: Tensor | None = None) -> Tensor:
        """Embeddings ``(B, T, D)``, differentiable.

        Parameters
        ----------
        tokens
            ``int64 (B, T)``, expression bins (or the mask).
        positions
            ``int64 (T,)``, every column's position in the vocabulary; ``None`` where the columns are the vocabulary.
        added
            ``(B, D)``, a vector of each cell that is added to the input at every position, such as its batch's.

        Raises
        ------
        ArgumentError
            If shapes, types or ranges do not fit.
        """
        x = self.embed(tokens, positions)  # (B, T + 1, D)
        if added is not None:
            if added.shape != (len(x), x.shape[2]):
                msg = f"added has shape {tuple(added.shape)}; expected {(len(x), x.shape[2])}, a vector per cell."
                raise ArgumentError(msg)
            x = x + added.unsqueeze(1)
        return self.norm(self.performer(x))[:, :-1]

    def logits(self, tokens: Tensor, positions: Tensor | None = None, *, added: Tensor | None = None) -> Tensor:
        """Logits ``(B, T, n_tokens)`` of every expression bin, differentiable; arguments as of :meth:`hidden`."""
        return self.to_out(self.hidden(tokens, positions, added=added))

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """The same as :meth:`logits`."""
        return self.logits(tokens, positions)

    @torch.no_grad()
    def fold_in(self, vector: Tensor) -> ScBERT:
        """Add ``vector`` ``(D,)`` to the input at every position for good: it goes into the bins' embeddings.

        From then on the model gives without ``added`` what it gave with ``vector`` as every cell's.

        Returns
        -------
        The model itself.
        """
        self.token_emb.weight += vector.to(self.token_emb.weight)
        return self

    # ----------------------------------------------------------------------------------------------- in inference

    @torch.inference_mode()
    def encode(self, tokens: Tensor, positions: Tensor | None = None, *, block_size: int | None = None) -> Encoding:
        """Embeddings and attention sums, in memory that grows with T only by ``(B, T, D)``.

        A cell's result does not depend on the other cells of the batch, up to rounding.

        Parameters
        ----------
        tokens
            ``int64 (B, T)``, expression bins.
        positions
            ``int64 (T,)``, every column's position in the vocabulary; ``None`` where the columns are the vocabulary.
        block_size
            Genes, over all cells worked on together, whose feature maps are held at a time; ``None`` for a size that
            suits the device.

        Returns
        -------
        Hidden states ``(B, T, D)`` and attention ``(B, T)``, without the position that ends the sequence; each row of
        attention is divided by its sum over genes.

        Raises
        ------
        ArgumentError
            If shapes, types or ranges do not fit.
        """
        on_cpu = self.device.type == "cpu"
        if block_size is None:
            block_size = self._block_size() if on_cpu else ACCELERATOR_BLOCK_SIZE
        if block_size < 1:
            msg = f"block_size is at least 1, not {block_size}."
            raise ArgumentError(msg)
        x = self.embed(tokens, positions)  # (B, T + 1, D)
        attention = x.new_zeros(x.shape[:2])  # (B, T + 1)
        # Short sequences share a block; a long one is worked on alone, which keeps its feature maps in cache.
        cells_at_a_time = max(1, min(block_size // x.shape[1], len(x)))
        block_size = max(1, block_size // cells_at_a_time)
        room = self._room(cells_at_a_time * x.shape[1]) if on_cpu else None
        for cells in blocks(len(x), cells_at_a_time):
            for layer in self.performer.net.layers:
                self._stream_layer(layer, x[cells], attention[cells], block_size, room)
        x = x[:, :-1]
        hidden = nn.functional.layer_norm(
            x, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps
        )
        attention = attention[:, :-1]
        return Encoding(hidden, attention / attention.sum(dim=1, keepdim=True))

    def _block_size(self) -> int:
        """Genes whose feature maps fit the caches of the cores that work on them."""
        heads, n_features = self._feature_shape()
        return genes_in_cache(heads, n_features) * -(-torch.get_num_threads() // 2)

    def _room(self, n_positions: int) -> Tensor:
        """Room for the keys' feature maps of so many positions, or for as many as :data:`KEPT_BYTES` hold."""
        weight = self.token_emb.weight
        n_values = n_positions * math.prod(self._feature_shape())
        return weight.new_empty(min(n_values, KEPT_BYTES // weight.element_size()))

    def _feature_shape(self) -> tuple[int, int]:
        """Number of heads H, and of random features m."""
        multi_head = self.performer.net.layers[0][0].fn
        return multi_head.heads, len(multi_head.fast_attention.projection_matrix)

    def _stream_layer(
        self, layer: Iterable[Any], x: Tensor, attention: Tensor, block_size: int, room: Tensor | None
    ) -> None:
        """Apply one Performer layer to ``x`` in place, and add the mean over heads of its sums to ``attention``."""
        attend, feed_forward = layer
        multi_head = attend.fn

        def heads(projected: Tensor) -> Tensor:  # (B, g, H·d) → (B, H, g, d)
            return projected.view(*projected.shape[:2], multi_head.heads, -1).transpose(1, 2)

        normed = attend.norm(x)  # kept whole: x changes below, and the keys may be needed twice
        genes_of_blocks = list(blocks(x.shape[1], max(block_size, GENES_PROJECTED)))
        stream = favor_stream(multi_head.fast_attention.projection_matrix, block_size=block_size, room=room)
        for genes in genes_of_blocks:
            block = normed[:, genes]
            stream.add_keys(heads(multi_head.to_k(block)), heads(multi_head.to_v(block)))
        for genes in genes_of_blocks:
            read = stream.attend(heads(multi_head.to_q(normed[:, genes])))  # (B, H, g, d)
            block = x[:, genes]
            block += multi_head.to_out(read.transpose(1, 2).flatten(start_dim=2))
            block += feed_forward(block)
        sums = stream.attention_sums(lambda genes: heads(multi_head.to_k(normed[:, genes])))
        attention += sums.mean(dim=1)

    def embed(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """Sum of bin embedding and gene vector, ``(B, T + 1, D)``, the end of the sequence last."""
        n_genes = self.config.n_genes
        if tokens.ndim != 2 or tokens.dtype != torch.int64 or tokens.shape[1] == 0:
            msg = f"tokens should be int64 (cells, genes), not {tokens.dtype} {tuple(tokens.shape)}."
            raise ArgumentError(msg)
        n_columns = n_genes if positions is None else len(positions)
        if tokens.shape[1] != n_columns:
            given = "a vocabulary of" if positions is None else "positions for"
            msg = (
                f"tokens has {tokens.shape[1]} columns, but there is {given} {n_columns} genes. Pass one position each."
            )
            raise ArgumentError(msg)
        _check_range("tokens", tokens, self.config.n_tokens)
        if positions is None:
            positions = torch.arange(n_genes, device=self.device)
        elif positions.ndim != 1 or positions.dtype != torch.int64:
            msg = f"positions should be int64 (genes,), not {positions.dtype} {tuple(positions.shape)}."
            raise ArgumentError(msg)
        else:
            _check_range("positions", positions, n_genes)
        tokens = nn.functional.pad(tokens.to(self.device), (0, 1), value=END_TOKEN)
        positions = nn.functional.pad(positions.to(self.device), (0, 1), value=n_genes)
        return self.token_emb(tokens) + self.pos_emb(positions)

    # ---------------------------------------------------------------------------------------------------- on disk

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], vocabulary: GeneVocabulary) -> ScBERT:
        """Read a PyTorch checkpoint in the layout of scBERT's published one; its shapes give the configuration.

        Parameters
        ----------
        path
            For example ``panglao_pretrain.pth``. It is read without unpickling any Python object.
        vocabulary
            The encoder's genes, in the order of its gene vectors.

        Raises
        ------
        WeightsUnavailableError
            If there is no such file.
        WeightsError
            If it is damaged, has other tensors or shapes, or is for another number of genes.
        """
        state = load_checkpoint(path)
        sizes = infer_config(state)
        if sizes["n_genes"] != len(vocabulary):
            msg = (
                f"{path}: tensor 'pos_emb.emb.weight' has {sizes['n_genes'] + 1} rows; expected {len(vocabulary) + 1}, "
                f"one for each of the vocabulary's {len(vocabulary)} genes and one for the end of the sequence."
            )
            raise WeightsError(msg)
        try:
            model = cls(ScBERTConfig(**sizes))
        except ArgumentError as error:
            msg = f"{path}: {error}"
            raise WeightsError(msg) from error
        load_weights(model, state, str(path))
        return model.eval()

    def save(self, folder: str | os.PathLike[str], vocabulary: GeneVocabulary) -> None:
        """Write the weights (``model.safetensors``) and all else (``config.json``) to ``folder``.

        Raises
        ------
        ArgumentError
            If ``vocabulary`` does not have as many genes as this encoder.
        """
        if len(vocabulary) != self.config.n_genes:
            msg = (
                f"The vocabulary has {len(vocabulary)} genes, but this encoder has {self.config.n_genes}. "
                "Give the list of genes that the encoder was trained with (`vocabulary=`)."
            )
            raise ArgumentError(msg)
        write_folder(folder, self.state_dict(), config=asdict(self.config), vocabulary=vocabulary)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> tuple[ScBERT, GeneVocabulary]:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsUnavailableError
            If the folder or one of its files is not there.
        WeightsError
            If a file is damaged, was written by a newer version, or the files do not belong together.
        """
        sizes, vocabulary, state = read_folder(folder)
        try:
            config = ScBERTConfig(**sizes)
        except (TypeError, ArgumentError) as error:
            msg = f"{folder}: config.json is damaged: {error}"
            raise WeightsError(msg) from error
        if config.n_genes != len(vocabulary):
            msg = (
                f"{folder}: config.json is damaged: {config.n_genes} genes in the shape, {len(vocabulary)} in the list."
            )
            raise WeightsError(msg)
        model = cls(config)
        load_weights(model, state, str(folder))
        return model.eval(), vocabulary


def _check_range(name: str, values: Tensor, stop: int) -> None:
    """Raise :class:`ArgumentError` where whole numbers are not all in 0…stop − 1."""
    if values.numel():
        smallest, largest = int(values.min()), int(values.max())
        if smallest < 0 or largest >= stop:
            msg = f"{name} ranges from {smallest} to {largest}; expected 0…{stop - 1}."
            raise ArgumentError(msg)
