"""train_ddp.py: several processes train as one does."""

import os
import re
import sys

import pytest
import torch
import train_ddp
from helpers import CHECKPOINT, ROOT, run

(COMMAND,) = re.findall(r"torchrun .*\.py", train_ddp.__doc__)


@pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux only")
@pytest.mark.slow
def test_two_processes_train_as_one(train, small_data, home):
    """With all samples in one step, half of them each, their order does not matter."""
    flags = ("--device", "cpu", "--epochs", 3, "--lr", 0.01)
    train(*flags, "--batch-size", 640)
    alone = torch.load(CHECKPOINT)
    command = COMMAND.replace("torchrun", "-m torch.distributed.run").split()
    flags += ("--batch-size", 320, "--data-dir", small_data)
    run(sys.executable, *command[:-1], ROOT / command[-1], *flags, cwd=home)
    assert os.listdir() == [CHECKPOINT]
    for name, value in torch.load(CHECKPOINT).items():
        torch.testing.assert_close(value, alone[name])


def test_each_process_has_its_gpu(monkeypatch):
    """Pretend that there is a GPU for each process; stop where they would meet."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", "--device", "cuda"])
    with pytest.raises(TypeError):
        train_ddp.main()
    assert chosen == ["cuda:1"]
