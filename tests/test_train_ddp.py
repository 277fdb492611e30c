"""train_ddp.py: several processes train as one does."""

import os
import re
import socket
import subprocess
import sys

import pytest
import torch
import train_ddp
from conftest import CHECKPOINT, ROOT

COMMANDS = re.findall(r"torchrun .*\.py", train_ddp.__doc__.replace("\\\n", ""))


@pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux only")
@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one(train, small_data, machines):
    """The docstring's commands; two launchers on this machine stand for two machines.

    With all samples in one step, half of them in each process, order does not matter.
    """
    train("--epochs", 3, "--batch-size", 640)
    alone = torch.load(CHECKPOINT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = COMMANDS[machines - 1].replace("HOST:29500", endpoint).split()
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]
    command[-1:] = [ROOT / command[-1], "--data-dir", small_data]
    command += ["--epochs", 3, "--batch-size", 320]
    launchers = [subprocess.Popen([*map(str, command)]) for _ in range(machines)]
    assert [launcher.wait() for launcher in launchers] == [0] * machines
    assert os.listdir() == [CHECKPOINT]
    for name, value in torch.load(CHECKPOINT).items():
        torch.testing.assert_close(value, alone[name])


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cpu"), (2, "cuda:1")])
def test_device(monkeypatch, gpus, device):
    """Pretend that PyTorch reports GPUs."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert train_ddp.choose_device() == device
    assert chosen == [device] * (device != "cpu")


def test_without_torchrun(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_ddp.py"])
    with pytest.raises(SystemExit, match="2"):
        train_ddp.parse_args()
    assert "start this program with torchrun" in capsys.readouterr().err
