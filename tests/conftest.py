"""What the tests share: small data to train on, and ways to run the script."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "train_mnist.py"
ARCHIVES = ROOT / "datasets" / "MNIST" / "raw"
CHECKPOINT = "mnist_dnn_model.pth"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "examples")]
# Started in the background by a shell, the tests would hand on that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Set on some machines; it would hide output that the script forgets to flush.
os.environ.pop("PYTHONUNBUFFERED", None)
# Equality to the bit is the CPU's.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import train_mnist


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get("deselected"):
        terminalreporter.write_line("The slow tests: python -m pytest -m slow")


def copy_archives(data_dir):
    """Make a --data-dir with MNIST as in a fresh clone; return its MNIST/raw."""
    raw = data_dir / "MNIST" / "raw"
    return shutil.copytree(ARCHIVES, raw, ignore=shutil.ignore_patterns("*-ubyte"))


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """What a fresh clone holds for a run, in a path with a space and Korean letters."""
    folder = tmp_path_factory.mktemp("a clone 복사본")
    shutil.copy(SCRIPT, folder)
    copy_archives(folder / "datasets")
    return folder


@pytest.fixture
def small_data(tmp_path):
    """A --data-dir, unpacked, with the first 640 and 100 samples of the splits."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 640), ("t10k", 100)):
        for kind, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            with gzip.open(ARCHIVES / f"{split}-{kind}-ubyte.gz") as archive:
                content = bytearray(archive.read(header + count * size))
            content[4:8] = count.to_bytes(4, "big")
            (raw / f"{split}-{kind}-ubyte").write_bytes(content)
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


def run(*command, cwd, status=0, error="", **options):
    """Run a command for 100 s at most; check how it ends, return what it prints."""
    result = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
        **options,
    )
    assert (result.returncode, result.stderr) == (status, error)
    return result.stdout


def results(lines):
    """What a run printed, but for the times, which differ from run to run."""
    return [line.split(", Time")[0] for line in lines]
