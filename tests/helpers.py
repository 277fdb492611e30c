"""What several tests use."""

import re
import shutil
import subprocess
import types

import torch
from documents import CHANGES, ROOT, make
from torch import nn
from torch.utils.data import DataLoader

SCRIPT = ROOT / "train_mnist.py"
EXAMPLES = ROOT / "tests" / "examples"
SCRIPTS = {
    path.name: path.read_text("utf-8")
    for path in (SCRIPT, EXAMPLES / "train_photos.py", EXAMPLES / "train_table.py")
}
RAW = ROOT / "datasets" / "MNIST" / "raw"
CHECKPOINT = "mnist_dnn_model.pth"

# Starts a program without a network, and without root's right to write everywhere.
CONFINED = ["unshare", "--user", "--net"]
if not shutil.which("unshare") or subprocess.call([*CONFINED, "true"]):
    CONFINED = []  # this machine does not allow it


# The combinations of changes that the page of changes calls tested: script and names
TOGETHER = CHANGES.split("**Tested together")[1].split("**Not together")[0]
TOGETHER = [
    (file, names.split(", "))
    for file, names in re.findall("^- `(.*)`: (.*)", TOGETHER, re.MULTILINE)
]


def changed(*names, file="train_mnist.py"):
    """Return a script as a module, with changes of the documents."""
    return module(make(SCRIPTS[file], *names))


def module(text):
    """Return a text of a script as a module."""
    script = types.ModuleType("changed")
    script.__file__ = str(SCRIPT)
    exec(text, vars(script))
    return script


def linear_model(classes, weights=None):
    """Return a model that takes ResNet's place where it is not tested."""
    layers = nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 224**2, classes)
    return nn.Sequential(*layers)


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


def loaded(script, train, *flags):
    """Return the data sets that a script loads, in the order of its DataLoaders."""
    datasets = []

    def load(dataset, **options):
        datasets.append(dataset)
        return DataLoader(dataset, **options)

    script.DataLoader = load
    script.evaluate = lambda *_: (50.0, 1.0)
    train("--epochs", 1, *flags, script=script)
    return datasets


def check_going_on(train, script, *flags):
    """Check that a run of four and three epochs gives the bits of a run of seven."""
    flags = (*flags, "--checkpoint", "saved.pth")
    *_, expected, _ = train(*flags, "--epochs", 7, script=script)
    saved = torch.load("saved.pth")
    train(*flags, "--epochs", 4, script=script)
    *_, resumed, _ = train(*flags, "--epochs", 7, "--resume", script=script)
    assert without_times([resumed]) == without_times([expected])
    saved, again = (
        state.get("model", state) for state in (saved, torch.load("saved.pth"))
    )
    assert all(map(torch.equal, again.values(), saved.values()))
