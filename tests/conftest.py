"""What the tests share: data to train on, and two ways to run the script."""

import gzip
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "train_mnist.py"
ARCHIVES = ROOT / "datasets" / "MNIST" / "raw"
sys.path.insert(0, str(ROOT))
# Set on some machines; it would hide output that the script forgets to flush.
os.environ.pop("PYTHONUNBUFFERED", None)


def copy_archives(raw):
    """Make the folder raw, with MNIST as it is before the first run."""
    shutil.copytree(ARCHIVES, raw, ignore=shutil.ignore_patterns("*-ubyte"))


def remove_unpacked(folder):
    """Make the next run in a clone its first one."""
    for unpacked in (folder / "datasets" / "MNIST" / "raw").glob("*-ubyte"):
        unpacked.unlink()


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """What a fresh clone holds for a run, in a path with a space and Korean letters."""
    folder = tmp_path_factory.mktemp("a clone 복사본")
    shutil.copy(SCRIPT, folder)
    shutil.copy(ROOT / ".gitignore", folder)
    copy_archives(folder / "datasets" / "MNIST" / "raw")
    return folder


@pytest.fixture(scope="session")
def small_splits(tmp_path_factory):
    """The unpacked files of MNIST's first 640 training and 100 test samples."""
    folder = tmp_path_factory.mktemp("small")
    for split, count in (("train", 640), ("t10k", 100)):
        for kind, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
            with gzip.open(ARCHIVES / f"{split}-{kind}-ubyte.gz") as archive:
                content = bytearray(archive.read(header + count * size))
            content[4:8] = count.to_bytes(4, "big")
            (folder / f"{split}-{kind}-ubyte").write_bytes(content)
    return folder


@pytest.fixture
def small_data(small_splits, tmp_path):
    """A --data-dir with the small splits, ready to be damaged."""
    shutil.copytree(small_splits, tmp_path / "data" / "MNIST" / "raw")
    return tmp_path / "data"


def run(*command, cwd):
    """Run a command; return the result, with what it printed as text."""
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def python(*arguments, cwd):
    """Run python as a user does; return the result."""
    return run(sys.executable, *arguments, cwd=cwd)


def printed(result):
    """Check that a run ended well, with no word of error; return what it printed."""
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def be_the_script(script, flags, cwd, output, prepare):
    """Turn this process into a run of the script."""
    for ending, number in ((".out", 1), (".err", 2)):
        os.dup2(os.open(output + ending, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    sys.argv = [script, *flags]
    if prepare:
        prepare()
    runpy.run_path(script, run_name="__main__")


class Start:
    """Start the script in a process that has PyTorch imported: that takes seconds.

    All else is as in python(): the real file as __main__, with output, signals and an
    exit status of its own. prepare() is called in the process before the script.
    """

    # Where forking is not safe or not there, the process is spawned, and just slower.
    context = multiprocessing.get_context(
        "forkserver" if sys.platform == "linux" else "spawn"
    )
    context.set_forkserver_preload(["torchvision"])

    def __init__(self, *flags, script=SCRIPT, cwd, prepare=None):
        self.output = f"{cwd}-{time.monotonic_ns()}"
        self.process = self.context.Process(
            target=be_the_script,
            args=(str(script), [*map(str, flags)], str(cwd), self.output, prepare),
            daemon=True,  # so that a failed test leaves none behind
        )
        self.process.start()

    def read(self, ending):
        path = Path(self.output + ending)
        return path.read_text("utf-8") if path.exists() else ""

    def wait_for(self, text, times=1):
        """Wait until the script has printed text that often."""
        while self.read(".out").count(text) < times:
            assert self.process.is_alive(), self.read(".err")
            time.sleep(0.001)
        return self

    def finish(self):
        """Wait for the script's end; return its exit status and what it printed."""
        self.process.join(100)
        return SimpleNamespace(
            returncode=self.process.exitcode,
            stdout=self.read(".out"),
            stderr=self.read(".err"),
        )


@pytest.fixture
def home(tmp_path):
    """An empty current folder for the script."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def flags_of_help(monkeypatch, capsys):
    """What --help shows: {flag: (default, help)}."""
    import train_mnist

    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        train_mnist.parse_args()
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    pattern = r"(--[a-z-]+) [A-Z{]\S+ ([^()]*) \(default: ([^)]*)\)"
    return {
        flag: (default, help_) for flag, help_, default in re.findall(pattern, text)
    }
