"""The encoder of scBERT's size against performer-pytorch, and its attention sums against the published way."""

from __future__ import annotations

import warnings

import torch
from published_attention import feature_maps, linear_sums, published_pass, published_sums

from scgrn_tl.models import ScBERT, ScBERTConfig

from .measure import Row, in_child, paired, time_row

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from performer_pytorch import Performer

PRODUCTS_PER_GENE = 200 * 640 * 4 + 2 * 200 * 800 + 10 * 266 * (64 * 3 + 65)
"""Multiplications and additions of a layer for a gene: projections, feed-forward, two feature maps, context, read."""


def encoder_and_peer(n_genes: int) -> tuple[ScBERT, Performer]:
    """An encoder of the published shape and performer-pytorch's with the same weights."""
    model = ScBERT(ScBERTConfig(n_genes=n_genes)).eval()
    peer = Performer(
        dim=200, depth=6, heads=10, dim_head=64, qkv_bias=False, attn_out_bias=True, auto_check_redraw=False
    ).eval()
    del peer.proj_updater
    peer.load_state_dict(model.performer.state_dict())
    return model, peer


def tokens_of(n_cells: int, n_genes: int) -> torch.Tensor:
    return torch.randint(0, 6, (n_cells, n_genes), generator=torch.Generator().manual_seed(0))


class WithoutSums:
    """Inside the block the encoder leaves out what only attention sums need."""

    def __enter__(self) -> None:
        from scgrn_tl.models import favor, scbert

        self.before = favor.FavorStream.attention_sums, favor.FavorStream.__init__, scbert.ScBERT._room
        keep_nothing = self.before[1]

        def without_room(stream, projection, *, block_size, room=None):
            keep_nothing(stream, projection, block_size=block_size, room=None)

        favor.FavorStream.attention_sums = lambda stream, keys: torch.ones(1, 1, 1)
        favor.FavorStream.__init__ = without_room
        scbert.ScBERT._room = lambda model, n_positions: None

    def __exit__(self, *_: object) -> None:
        from scgrn_tl.models import favor, scbert

        favor.FavorStream.attention_sums, favor.FavorStream.__init__, scbert.ScBERT._room = self.before


@torch.inference_mode()
def attention_sum_rows(repeats: int):
    """T = 1,000, one cell: the sums alone from given feature maps, and a whole pass."""
    model, peer = encoder_and_peer(1000)
    tokens = tokens_of(1, 1000)
    x = model._embed(tokens, None)
    attend = peer.net.layers[0][0]
    q, k = (
        project(attend.norm(x)).unflatten(-1, (10, 64)).transpose(1, 2) for project in (attend.fn.to_q, attend.fn.to_k)
    )
    queries, keys = feature_maps(q, k, attend.fn.fast_attention.projection_matrix)
    for dtype in (torch.float16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        error = float((published_sums(queries, keys, dtype) / linear_sums(queries, keys) - 1).abs().max())
        if error > (0.1 if dtype == torch.float16 else 1e-3):
            msg = f"attention sums differ by {error:.1%} in {name}"
            raise AssertionError(msg)
        yield time_row(
            "attention sums of a layer, T = 1,000, one cell",
            f"published way, {name}",
            lambda: linear_sums(queries, keys),
            lambda dtype=dtype: published_sums(queries, keys, dtype),
            at_least=30,
            repeats=repeats,
        )
    mine, others, ratio = paired(lambda: model.encode(tokens), lambda: published_pass(peer, x), repeats=repeats)
    yield Row(
        "hidden states and attention sums, T = 1,000, one cell", "published way, float16",
        f"{mine:.3g} s", f"{others:.3g} s", f"{ratio:.1f}×", "", ratio >= 1,
    )  # fmt: skip


@torch.inference_mode()
def speed_rows(repeats: int):
    """Encoder passes with and without sums against performer-pytorch, and the share of the machine's products."""
    for n_genes, batches in ((1000, (1, 4, 8)), (4000, (1, 2))):
        model, peer = encoder_and_peer(n_genes)
        for n_cells in batches:
            yield from _pass_rows(model, peer, n_cells, repeats)
    for n_genes, n_cells in ((1000, 8), (4000, 2)):
        yield _share_row(ScBERT(ScBERTConfig(n_genes=n_genes)).eval(), n_cells, repeats)


def _pass_rows(model: ScBERT, peer: Performer, n_cells: int, repeats: int):
    tokens = tokens_of(n_cells, model.config.n_genes)
    x = model._embed(tokens, None)
    what = f"encoder, T = {model.config.n_genes:,}, {n_cells} cell{'s' if n_cells > 1 else ''}"
    compared = (lambda: model.encode(tokens), lambda: model.norm(peer(x)))
    with WithoutSums():
        yield time_row(f"{what}, no sums", "performer_pytorch.Performer", *compared, at_least=2, repeats=repeats)
    yield time_row(
        f"{what}, with sums", "performer_pytorch.Performer (no sums)", *compared, at_least=1.7, repeats=repeats
    )


def _share_row(model: ScBERT, n_cells: int, repeats: int) -> Row:
    n_genes = model.config.n_genes
    tokens, square = tokens_of(n_cells, n_genes), torch.randn(4096, 4096)
    ours, machine, share = paired(lambda: model.encode(tokens), lambda: torch.mm(square, square), repeats=repeats)
    products = 2 * PRODUCTS_PER_GENE * 6 * n_cells * (n_genes + 1)
    share *= products / (2 * 4096**3)
    return Row(
        f"encoder with sums, T = {n_genes:,}, products per second", "torch.mm, 4,096 × 4,096",
        f"{products / ours / 1e9:.0f} GFLOP/s", f"{2 * 4096**3 / machine / 1e9:.0f} GFLOP/s",
        f"{share:.2f}", "≥ 0.6", share >= 0.6,
    )  # fmt: skip


@torch.inference_mode()
def long_sequence_rows(repeats: int):
    """T = 16,907: what the sums add to a pass, and the memory of a process that does one."""
    model, tokens = ScBERT(ScBERTConfig(n_genes=16_906)).eval(), tokens_of(1, 16_906)

    def without() -> None:
        with WithoutSums():
            model.encode(tokens)

    mine, others, ratio = paired(lambda: model.encode(tokens), without, repeats=repeats)
    yield Row(
        "attention sums, T = 16,907, one cell", "the same pass without",
        f"{mine:.3g} s", f"{others:.3g} s", f"{1 / ratio:.2f}×", "≤ 1.3×", 1 / ratio <= 1.3,
    )  # fmt: skip
    peak = in_child("encode_once.py", 16_906)["peak"]
    yield Row(
        "peak memory of that process, weights included", "", f"{peak / 1e9:.2f} GB", "", f"{peak / 1e9:.2f} GB",
        "< 1.5 GB", peak < 1.5e9,
    )  # fmt: skip
