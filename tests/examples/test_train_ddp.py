"""Tests of train_ddp.py: several processes train as one does."""

import os
import re
import socket
import subprocess
import sys

import pytest
import torch
import train_ddp
from conftest import CHECKPOINT, ROOT
from readme import block

import train_mnist

COMMANDS = re.findall(r"torchrun .*\.py", train_ddp.__doc__)
linux = pytest.mark.skipif(sys.platform != "linux", reason="gloo is for Linux")


def test_the_readme_has_the_same_command():
    assert block("Several GPUs, speed, tests", "torchrun").strip() == COMMANDS[0]


def launch(machines, *flags):
    """Train with two processes; return the parameters.

    Two launchers on one machine stand for the two machines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = COMMANDS[machines - 1].replace("HOST:29500", endpoint).split()
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]
    command[-1] = str(ROOT / command[-1])
    started = [
        subprocess.Popen(
            [*command, *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for _ in range(machines)
    ]
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * machines, outputs
    assert len(re.findall(r"Model Accuracy: (.*?) %", "".join(outputs))) == 3
    assert os.listdir() == [CHECKPOINT]
    return torch.load(CHECKPOINT)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one(train, small_data, home, machines):
    """With all samples in one step the order does not matter: the weights are equal."""
    flags = ["--data-dir", small_data, "--epochs", 3, "--batch-size", 640]
    train(*flags)
    alone = torch.load(CHECKPOINT)
    together = launch(machines, *flags)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value)


@linux
@pytest.mark.slow
def test_each_process_takes_a_share_of_the_batch(train, small_data, home):
    """So there are as many steps, and the weights move about as far, in any order."""
    torch.manual_seed(1)
    start = train_mnist.make_model()[1].bias
    flags = ["--data-dir", small_data, "--epochs", 3]
    train(*flags)
    alone = torch.load(CHECKPOINT)["1.bias"]
    together = launch(1, *flags)["1.bias"]
    assert (together - start).norm().item() == pytest.approx(
        (alone - start).norm().item(), rel=0.2
    )


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cpu"), (2, "cuda:1")])
def test_device(monkeypatch, capsys, gpus, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert str(train_ddp.choose_device(local_rank=1, processes=2)) == device
    assert capsys.readouterr().out.startswith(f"Device: {device}, with {gpus} GPUs")


@pytest.mark.parametrize(
    ("flags", "processes", "error"),
    [
        ([], None, "start it with torchrun"),
        (["--batch-size", "64"], "3", "--batch-size must be a multiple of"),
        (["--batch-size", "0"], "2", "--batch-size must be a multiple of"),
    ],
)
def test_refused(monkeypatch, capsys, flags, processes, error):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", *flags])
    with pytest.raises(SystemExit) as stop:
        train_ddp.main()
    assert stop.value.code == 2
    assert f"error: {error}" in capsys.readouterr().err
