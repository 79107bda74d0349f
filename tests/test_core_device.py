from __future__ import annotations

import pytest
import torch

from scgrn_tl import settings
from scgrn_tl.core import ArgumentError, resolve_device
from scgrn_tl.core import device as device_module


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device_module, "_mps_works", lambda: False)


@pytest.mark.usefixtures("no_accelerator")
def test_auto_is_the_cpu_without_an_accelerator():
    assert resolve_device("auto") == "cpu"


def test_auto_takes_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"


def test_auto_takes_mps_where_it_works_and_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device_module, "_mps_works", lambda: True)
    assert resolve_device("auto") == "mps"
    assert resolve_device("mps") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"


def test_none_is_the_setting():
    with settings.override(device="cpu"):
        assert resolve_device() == "cpu"
        assert resolve_device(None) == "cpu"


def test_a_torch_device_is_taken_too():
    assert resolve_device(torch.device("cpu")) == "cpu"


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ArgumentError, match=f"device='{name}'.*Use device='auto' or device='cpu'"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_not_a_device(name):
    with pytest.raises(ArgumentError, match=r"is not a torch device\. Use 'auto', 'cpu', 'cuda'"):
        resolve_device(name)


@pytest.mark.gpu
def test_auto_computes_on_a_gpu_where_there_is_one():
    assert torch.ones(2, device=resolve_device("auto")).is_cuda


def test_mps_probe_answers_without_mps(monkeypatch):
    device_module._mps_works.cache_clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_module._mps_works() is False
    device_module._mps_works.cache_clear()


def test_mps_that_is_announced_but_fails(monkeypatch):
    def fails(*_args, **_kwargs):
        raise RuntimeError

    device_module._mps_works.cache_clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", fails)
    assert device_module._mps_works() is False
    device_module._mps_works.cache_clear()
