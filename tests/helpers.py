"""What several tests use."""

import shutil
import subprocess
import types

from readme import ROOT, make

SCRIPT = ROOT / "train_mnist.py"
RAW = ROOT / "datasets" / "MNIST" / "raw"
CHECKPOINT = "mnist_dnn_model.pth"

# Starts a program without a network, and without root's right to write everywhere.
CONFINED = ["unshare", "--user", "--net"]
if not shutil.which("unshare") or subprocess.call([*CONFINED, "true"]):
    CONFINED = []  # this machine does not allow it


def changed(*names):
    """Return the script as a module, with changes of the documents."""
    return module(make(*names))


def module(text):
    """Return a text of the script as a module."""
    script = types.ModuleType("changed")
    script.__file__ = str(SCRIPT)
    exec(text, vars(script))
    return script


def run(*command, cwd, status=0):
    """Run a command and check its exit status; return its output and error output."""
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout, result.stderr


def without_times(lines):
    """Return printed lines without the times, which differ from run to run."""
    return [line.split(", Time")[0] for line in lines]
