"""What ``scgrn-tl COMMAND --help`` says besides the options: what it does, examples, and where to read on."""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

from scgrn_tl.core.documentation import DOCUMENTATION, page_address

__all__ = ["ABOUT", "GREETING", "About"]


class About(NamedTuple):
    """What a command does, calls to copy, and the page of the documentation that goes on from there."""

    text: str
    examples: tuple[str, ...]
    page: str

    @property
    def description(self) -> str:
        return textwrap.fill(self.text, 80)

    @property
    def epilog(self) -> str:
        calls = "\n".join(f"  {call}" for call in self.examples)
        return f"examples:\n{calls}\n\nmore: {page_address(self.page)}"


GREETING: Final = f"""\
Gene regulatory networks from single-cell RNA-seq with scTransNet.

New here? `scgrn-tl demo` goes all the way on simulated cells, and needs no file
and no download. `scgrn-tl COMMAND --help` has examples of a command's own.
Documentation: {DOCUMENTATION}
"""

ABOUT: Final = {
    "demo": About(
        "From cells to a network, its picture and a table of edges, judged beside the hub floor on pairs of genes that "
        "were held out. Cells are simulated, or those of a BEELINE experiment, which is downloaded once.",
        ("scgrn-tl demo", "scgrn-tl demo --dataset hHEP --sample 1 --out hhep"),
        "getting-started",
    ),
    "embed": About(
        "Give every gene a vector: scBERT reads the cells, and the vectors that a gene has in each of them are "
        "averaged by attention. The output is a copy of the input, with .varm['scbert'] and "
        ".obsm['scbert_attention']. "
        "Files that do not fit memory are read in blocks, and torchrun divides the cells among processes.",
        (
            "scgrn-tl embed cells.h5ad --out embedded.h5ad --weights fit",
            "scgrn-tl embed cells.h5ad --out embedded.h5ad --layer counts --groupby cell_type",
            "torchrun --nproc-per-node 4 -m scgrn_tl embed atlas.h5ad --out embedded.h5ad --resume-from run",
        ),
        "many-machines",
    ),
    "fit": About(
        "Learn from known edges, and give every pair of a regulator and a gene a probability, calibrated on edges that "
        "were held out. The output is a copy of the input with the network in .varp['grn']; how well it does, beside "
        "the hub floor, is printed. --edges writes a table of the likely edges too.",
        (
            "scgrn-tl fit cells.h5ad --prior known.csv --out network.h5ad --edges edges.csv",
            "scgrn-tl fit cells.h5ad --prior collectri.csv --prior chip.tsv --out network.h5ad --n-models 5",
            "scgrn-tl fit cells.h5ad --prior known.csv --out network.h5ad --method genelink",
        ),
        "priors",
    ),
    "infer": About(
        "Score every pair of a regulator and a gene from expression alone. The output is a copy of the input with the "
        "scores in .varp['grn']. They rank, and are no probabilities: --top-n takes the best.",
        (
            "scgrn-tl infer cells.h5ad --tf-names tfs.txt --out network.h5ad --edges edges.tsv --top-n 10000",
            "scgrn-tl infer cells.h5ad --tf-names tfs.txt --out network.h5ad --method pidc",
        ),
        "methods",
    ),
    "bench": About(
        "Run methods on data whose network is known, on pairs that were held out, beside floors that say what a score "
        "is worth. Every run has a process of its own and is kept as it ends: the same call goes on where it stopped. "
        "A report is written in the end.",
        (
            "scgrn-tl bench --datasets hHEP500,mDC500 --methods sctransnet,genelink --splits given,tf --out report",
            "scgrn-tl bench --datasets mine.h5ad --methods sctransnet,grnboost2 --jobs 4 --out mine",
        ),
        "benchmark",
    ),
    "methods": About(
        "What --method and --methods may be: the methods, the floors and the controls, and what each needs. With "
        "--method, what that one does and its parameters.",
        ("scgrn-tl methods", "scgrn-tl methods --method genelink"),
        "methods",
    ),
    "fetch": About(
        "Download files ahead of time, for a machine without a network. They are checked against their hashes and kept "
        "in the cache (SCGRN_TL_CACHE); licence and citation of each source are said once.",
        ("scgrn-tl fetch scbert", "scgrn-tl fetch tf-names", "scgrn-tl fetch beeline hHEP mDC --n-genes 1000"),
        "installation",
    ),
    "info": About(
        "What a bug report needs: versions, the device that computes, what is in the cache, and where scBERT's weights "
        "come from.",
        ("scgrn-tl info",),
        "contributing",
    ),
}
