"""What the tests share: small data to train on, and ways to run the script."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# For the tests and all they start. PyTorch's threads wait for each other in busy loops,
# so beside another program several threads take many times as long as one.
os.environ["OMP_NUM_THREADS"] = "1"
# Set on some machines; it would hide output that the script forgets to flush.
os.environ.pop("PYTHONUNBUFFERED", None)
# A shell starts what runs in the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "train_mnist.py"
RAW = ROOT / "datasets" / "MNIST" / "raw"
CHECKPOINT = "mnist_dnn_model.pth"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "examples")]
import train_mnist


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a fresh clone holds for a run, in a path with a space and Korean letters."""
    folder = tmp_path_factory.mktemp("a clone 복사본")
    shutil.copy(SCRIPT, folder)
    shutil.copytree(RAW, folder / "datasets" / "MNIST" / "raw")
    return folder


@pytest.fixture
def small_data(tmp_path):
    """A --data-dir with the first 640 and 100 samples of MNIST's two splits."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 640), ("t10k", 100)):
        for kind, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            name = f"{split}-{kind}-ubyte"
            with open(RAW / name, "rb") as file:
                content = bytearray(file.read(header + count * size))
            content[4:8] = count.to_bytes(4, "big")
            (raw / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder, the current one."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def train(small_data, home, monkeypatch, capsys):
    """Call main() of the script, or another, with flags; return the lines printed."""

    def train(*flags, main=train_mnist.main):
        flags = ("--data-dir", small_data, "--device", "cpu", *flags)
        monkeypatch.setattr(sys, "argv", ["train_mnist.py", *map(str, flags)])
        main()
        return capsys.readouterr().out.splitlines()

    return train


def run(*command, cwd, status=0):
    """Run a command and check its exit status; return its output and error output."""
    command = [*map(str, command)]
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout, result.stderr


def without_times(lines):
    """What a run printed, but for the times, which differ from run to run."""
    return [line.split(", Time")[0] for line in lines]
