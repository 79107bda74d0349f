"""Fused FAVOR+ attention on a CUDA device against PyTorch code, performer-pytorch and exact attention.

    python benchmarks/gpu_attention.py
    python benchmarks/gpu_attention.py --genes 1000 4000 --cells 16 --repeats 20

Two tables: one attention layer (H = 10, d = 64, m = 266), and the whole encoder with the published shape and random
weights. Contestants take turns; the time is the median over the repeats, memory is the peak beyond what was held
before. "off by" is the largest difference from float64, for the first cell of a batch: of exact attention that is the
error of the approximation, not of arithmetic.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from performer_pytorch import FastAttention, Performer

from scgrn_tl.models.favor import FavorStream, blocks
from scgrn_tl.models.favor_path import VARIABLE, favor_stream
from scgrn_tl.models.scbert import ACCELERATOR_BLOCK_SIZE, ScBERT, ScBERTConfig

HEADS, WIDTH, FEATURES = 10, 64, 266
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(contestants, repeats):
    """Median seconds and peak bytes of every contestant, measured in turns after two rounds to warm up."""
    seconds = {name: [] for name in contestants}
    peak = {}
    for turn in range(repeats + 2):
        for name, run in contestants.items():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            began = time.perf_counter()
            run()
            torch.cuda.synchronize()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
            peak[name] = torch.cuda.max_memory_allocated() - held
    return {name: statistics.median(values) for name, values in seconds.items()}, peak


def in_path(path, run):
    def chosen():
        os.environ[VARIABLE] = path
        return run()

    return chosen


def through(stream, q, k, v):
    """Output and column sums of one layer, in the blocks of genes that the encoder takes."""
    genes = list(blocks(q.shape[2], max(1, ACCELERATOR_BLOCK_SIZE // len(q))))
    for block in genes:
        stream.add_keys(k[:, :, block], v[:, :, block])
    out = torch.cat([stream.attend(q[:, :, block]) for block in genes], dim=2)
    return out, stream.attention_sums(lambda block: k[:, :, block])


def layer_contestants(cells, genes, dtype, device):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((cells, HEADS, genes, WIDTH), generator=generator).to(device, dtype) for _ in range(3))
    performer = FastAttention(WIDTH, FEATURES).to(device)
    projection = performer.projection_matrix

    def in_full_precision():
        return performer(q.float(), k.float(), v.float()), None

    contestants = {
        "fused": in_path("triton", lambda: through(favor_stream(projection), q, k, v)),
        "torch": in_path("torch", lambda: through(favor_stream(projection), q.float(), k.float(), v.float())),
        "performer-pytorch, no sums": in_full_precision,
        "exact attention, no sums": lambda: (torch.nn.functional.scaled_dot_product_attention(q, k, v), None),
    }
    one = (x[:1].double() for x in (q, k, v))
    reference = through(FavorStream(projection.double()), *one)[0]
    return contestants, reference


def encoder_contestants(cells, genes, dtype, device):
    model = ScBERT(ScBERTConfig(n_genes=genes)).to(device).eval()
    config = model.config
    performer = Performer(
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        dim_head=config.dim_head,
        qkv_bias=False,
        attn_out_bias=True,
        auto_check_redraw=False,
    )
    del performer.proj_updater
    performer.load_state_dict(model.performer.state_dict())
    performer.to(device).eval()
    tokens = torch.randint(6, (cells, genes), generator=torch.Generator().manual_seed(0)).to(device)
    half = torch.autocast(device, dtype, enabled=dtype != torch.float32)

    def encode():
        with half:
            return model.encode(tokens)

    def hidden_states():
        with half:
            return model.norm(performer(model._embed(tokens, None)))[:, :-1], None

    contestants = {
        "fused": in_path("triton", encode),
        "torch": in_path("torch", encode),
        "performer-pytorch, no sums": hidden_states,
    }
    os.environ[VARIABLE] = "torch"
    reference = ScBERT(config).to(device).double()
    reference.load_state_dict(model.state_dict())
    return contestants, reference.encode(tokens[:1]).hidden


def attempted(contestants, reference):
    """Those that fit into memory, and how far each is from the reference."""
    fitting, off = {}, {}
    for name, run in contestants.items():
        try:
            off[name] = float((run()[0][:1] - reference).abs().max())
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        else:
            fitting[name] = run
    return fitting, off


def table(title, contestants_of, arguments, device):
    print(f"\n## {title}\n")
    print("| type | genes | cells | contestant | ms | times fused | peak GB | off by |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for label in arguments.types:
        for genes in arguments.genes:
            cells = arguments.cells or max(1, 32_000 // genes)
            contestants, reference = contestants_of(cells, genes, TYPES[label], device)
            fitting, off = attempted(contestants, reference)
            seconds, peak = measure(fitting, arguments.repeats)
            for name in contestants:
                row = f"| {label} | {genes:,} | {cells} | {name} | "
                if name in fitting:
                    row += f"{seconds[name] * 1e3:.2f} | {seconds[name] / seconds['fused']:.2f} | "
                    row += f"{peak[name] / 1e9:.2f} | {off[name]:.1e} |"
                else:
                    row += "out of memory | | | |"
                print(row, flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=[1_000, 4_000, 16_907])
    parser.add_argument("--cells", type=int, help="cells in a batch; as many as make 32,000 genes by default")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device here, and this script times one. Nothing was measured.")
    import triton

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    table("One attention layer", layer_contestants, arguments, "cuda")
    table("Encoder", encoder_contestants, arguments, "cuda")


if __name__ == "__main__":
    main()
