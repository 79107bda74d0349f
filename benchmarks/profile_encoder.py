"""Where an encoder pass spends its time, by PyTorch operation, on one thread.

python benchmarks/profile_encoder.py --genes 1000
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from torch.profiler import ProfilerActivity, profile

from scgrn_tl.models import ScBERT, ScBERTConfig

KINDS = {
    "matrix products": ("mm", "bmm", "addmm", "baddbmm"),
    "exponentials": ("exp", "exp_"),
    "GELU": ("gelu",),
    "maxima and sums": ("amax", "sum", "mean", "max"),
    "layer norms": ("native_layer_norm",),
    "additions, subtractions, products by element": ("add", "add_", "sub", "sub_", "mul", "mul_", "pow", "reciprocal"),
    "copies": ("copy_", "cat", "clone", "contiguous"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = ScBERT(ScBERTConfig(n_genes=arguments.genes)).eval()
    tokens = torch.randint(0, 6, (arguments.cells, arguments.genes), generator=torch.Generator().manual_seed(0))
    model.encode(tokens)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        model.encode(tokens)
    kind_of = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
    shares: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        shares[kind_of.get(event.key, "the rest, calls from Python included")] += event.self_cpu_time_total
    total = sum(shares.values())
    print(f"{total / 1e6:.3f} s of CPU time for {arguments.cells} cells × {arguments.genes:,} genes")
    for kind, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"{share / total:6.1%}  {kind}")


if __name__ == "__main__":
    main()
