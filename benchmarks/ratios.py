"""The table of ratios of docs/performance.md, measured side by side on this machine.

    python benchmarks/ratios.py
    python benchmarks/ratios.py --only encoder startup --repeats 5
    python benchmarks/ratios.py --only training --genelink path/to/GENELink

Nothing else should run meanwhile. Rows come as they are measured; `--out FILE` also writes them as a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path

GROUPS = ("sums", "encoder", "long", "embedding", "processes", "training", "trees", "startup")


def rows_of(group: str, arguments: argparse.Namespace):
    if group in {"sums", "encoder", "long"}:
        from rows import encoder

        functions = {
            "sums": encoder.attention_sum_rows,
            "encoder": encoder.speed_rows,
            "long": encoder.long_sequence_rows,
        }
        return functions[group](arguments.repeats)
    if group in {"embedding", "processes"}:
        from rows import embedding

        return {"embedding": embedding.memory_rows, "processes": embedding.process_rows}[group](arguments.repeats)
    if group == "training":
        from rows import training

        return training.training_rows(arguments.genelink)
    if group == "trees":
        from rows import trees

        return trees.tree_rows(arguments.repeats)
    from rows import startup

    return startup.startup_rows(arguments.repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--repeats", type=int, default=3, help="pairs of timings of a row (default 3)")
    parser.add_argument("--genelink", type=Path, help="a checkout of the published GENELink, for its row")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    packages = ("scgrn_tl", "torch", "performer-pytorch", "scikit-learn", "numpy", "anndata")
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in packages),
        "",
        "| what | against | here | there | ratio | reach | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for group in arguments.only:
        for row in rows_of(group, arguments):
            cells = (row.what, row.against, row.ours, row.theirs, row.ratio, row.reach, "yes" if row.reached else "no")
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
