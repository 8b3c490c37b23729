from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops import torch_build

PINS = "numpy==2.3.1\ntorch==2.15.0\ntorchvision==0.29.2\n"


@pytest.fixture
def constraints(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text(PINS)
    return path


def a_uv(tmp_path: Path, script: str) -> str:
    """An executable in the place of uv, which writes down its arguments."""
    path = tmp_path / "uv"
    path.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\n{script}\n')
    path.chmod(0o755)
    return str(path)


def test_without_a_gpu_the_cpu_build_is_taken(
    tmp_path: Path,
    constraints: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(torch_build, "has_gpu", lambda: False)

    torch_build.main(a_uv(tmp_path, "exit 0"), constraints)

    assert capsys.readouterr().out == "--torch-backend cpu\n"
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[-2:] == ["torch==2.15.0", "torchvision==0.29.2"]
    assert "--dry-run" in arguments


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 30"])
def test_if_the_index_is_out_of_reach_it_says_what_is_downloaded(
    tmp_path: Path,
    constraints: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
):
    monkeypatch.setattr(torch_build, "has_gpu", lambda: False)
    monkeypatch.setattr(torch_build, "_TIMEOUT_S", 0.5)

    torch_build.main(a_uv(tmp_path, script), constraints)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "about 3 GB" in printed.err


def test_with_a_gpu_nothing_is_asked(
    tmp_path: Path,
    constraints: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(torch_build, "has_gpu", lambda: True)

    torch_build.main(str(tmp_path / "no uv"), constraints)

    assert capsys.readouterr() == ("", "")


def test_a_gpu_is_known_by_the_files_of_its_driver(tmp_path: Path):
    driver = tmp_path / "nvidiactl"
    assert not torch_build.has_gpu([str(driver)])
    driver.touch()
    assert torch_build.has_gpu([str(driver), sys.executable])
