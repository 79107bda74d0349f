"""A process killed (SIGKILL) at each moment of a save: what was there before is there, or the new, and the next works.

One interpreter forks a process per moment, which counts its own file operations and kills itself at one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

KILLED_AT_EVERY_STEP = r"""
import json, os, signal, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
import anndata as ad, pandas as pd
import scgrn_tl as sg
from scgrn_tl.core import GeneVocabulary, PriorNetwork, make_task
from scgrn_tl.core.replaced_folder import put_back
from scgrn_tl.datasets import _files
from scgrn_tl.datasets._files import PinnedFile, Source, fetch, sha256_of
from scgrn_tl.io._atomic import folder_replaced_when_complete
from scgrn_tl.models import GenePool, ScBERT, ScBERTConfig, ScTransNet
from scgrn_tl.tl._resume_folder import ResumeFolder

sg.settings.progress = False
root = Path(sys.argv[1])
os.environ["SCGRN_TL_CACHE"] = str(root / "cache")
adata = sg.datasets.simulated(12, 20, 4, mean_targets=8, rng=1)
prior = adata.uns["ground_truth"]
network = PriorNetwork.from_any(prior, adata.var_names)
task = make_task(adata, prior=network, split=sg.bm.split_edges(network, rng=0))
small = dict(epochs=1, gnn_widths=(4,), gnn_heads=1, channel_hidden=4, channel_width=4)
networks = [ScTransNet(**small, n_components=n).fit(task) for n in (2, 3)]
vocabulary = GeneVocabulary(adata.var_names)
encoders = []
for seed in (0, 1):
    encoder = ScBERT(ScBERTConfig(n_genes=20, dim=4, depth=1, heads=1, dim_head=4))
    encoders.append(encoder.initialize(torch.Generator().manual_seed(seed)))
sg.tl.infer_grn(adata, method="pearson", key_added="a")
sg.tl.infer_grn(adata, method="mutual_information", key_added="b")
content = bytes(range(256)) * 64
(root / "pinned").write_bytes(content)
pinned = PinnedFile("folder/file.bin", "http://nowhere/file.bin", Source("Test", "CC0", "nobody"), len(content),
                    sha256_of(root / "pinned"))


class Downloader:
    def __init__(self, **_): pass
    def __call__(self, url, output, _pooch):
        with open(output, "wb") as file:
            for start in range(0, len(content), 4096):
                file.write(content[start : start + 4096]); file.flush(); os.listdir(root)  # a step to be killed at


import pooch
pooch.HTTPDownloader = Downloader


def pools(n):
    pool = GenePool(3, 2)
    pool.update(torch.full((n, 3, 2), float(n)))
    return {"all": pool}


def save_zarr(path, i):
    with folder_replaced_when_complete(path, ("zarr.json",)) as beside:
        (beside / "X").mkdir(parents=True)
        (beside / "zarr.json").write_text("{}")
        (beside / "X" / "chunk").write_bytes(bytes([i]) * 1000)


def read_zarr(path):
    put_back(path)
    return (path / "zarr.json").read_text(), (path / "X" / "chunk").read_bytes()


SAVES = {
    # name: (save number i into a folder, what is read back from there)
    "network": (lambda to, i: networks[i].save(to / "network", overwrite=True),
                lambda at: ScTransNet.load(at / "network", device="cpu").scores().matrix.tobytes()),
    "encoder": (lambda to, i: encoders[i].save(to / "encoder", vocabulary),
                lambda at: ScBERT.load(at / "encoder")[0].state_dict()["token_emb.weight"].numpy().tobytes()),
    "edges.csv": (lambda to, i: sg.io.write_edges(adata, to / "edges.csv", key="ab"[i]),
                  lambda at: (at / "edges.csv").read_bytes()),
    "edges.graphml": (lambda to, i: sg.io.write_edges(adata, to / "edges.graphml", key="ab"[i]),
                      lambda at: (at / "edges.graphml").read_bytes()),
    "cells.zarr": (lambda to, i: save_zarr(to / "cells.zarr", i), lambda at: read_zarr(at / "cells.zarr")),
    "resume": (lambda to, i: ResumeFolder(to / "resume", {"run": "x"}).save(i + 1, pools(i + 1), final=True),
               lambda at: ResumeFolder(at / "resume", {"run": "x"}).load()[0]),
    "download": (lambda to, i: fetch(pinned), lambda at: fetch(pinned).read_bytes()),
}
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "shutil.rmtree"}


def killed_at(step, save, to):
    # what the exit status of a process says that is killed at its step-th file operation: 9, or 0 after the last
    pid = os.fork()
    if pid == 0:
        seen = 0
        def hook(event, arguments):
            nonlocal seen
            if event in EVENTS and str(root) in str(arguments[0]):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        save(to, 1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


found = {}
for name, (save, read) in SAVES.items():
    at = root / name.replace(".", "-")
    at.mkdir()
    sure = []
    for i in (0, 1):
        save(at, i)
        sure.append(read(at))
    problems, step = [], 0
    while True:
        step += 1
        if name == "download":
            (root / "cache" / "folder" / "file.bin").unlink(missing_ok=True)
        else:
            save(at, 0)
        status = killed_at(step, save, at)
        try:
            if read(at) not in sure:
                problems.append(f"step {step}: neither old nor new")
            save(at, 1)
            if read(at) != sure[1]:
                problems.append(f"step {step}: the next save is not what is read")
        except Exception as error:
            problems.append(f"step {step}: {type(error).__name__}: {error}")
            import shutil
            shutil.rmtree(at); at.mkdir()
        if status == 0 or step > 200:
            break
    found[name] = {"steps": step - 1, "problems": problems}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_AT_EVERY_STEP, str(tmp_path_factory.mktemp("killed"))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "save", ["network", "encoder", "edges.csv", "edges.graphml", "cells.zarr", "resume", "download"]
)
def test_killed_while_saving(outcomes: dict[str, dict], save: str) -> None:
    assert outcomes[save]["problems"] == []
    assert outcomes[save]["steps"] >= 2  # moments at which it was killed
