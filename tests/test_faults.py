"""What the script does when something goes wrong: one line, and nothing is lost.

The faults are staged for real, in a process of the script's own. What needs a POSIX
system or Linux is skipped elsewhere.
"""

import ctypes
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ARCHIVES, SCRIPT, Start, copy_archives, printed, run

import train_mnist

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
CPU = ("--device", "cpu")
OLD = b"the checkpoint of an earlier run"
NAME = "mnist_dnn_model.pth"


@pytest.fixture
def old(home):
    """A file from an earlier run where the checkpoint goes."""
    (home / NAME).write_bytes(OLD)
    return home / NAME


def one_line(result, status=1):
    """Check that a run ended with the status and one line of error; return the line."""
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def is_whole(path):
    """Tell whether a checkpoint can be loaded."""
    shapes = [value.shape for value in torch.load(path, weights_only=True).values()]
    return shapes == [(1024, 784), (1024,), (10, 1024), (10,)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# What is called in the script's process before the script


def no_network():
    """Send every download to a port of this machine where nobody listens."""
    for scheme in ("http_proxy", "https_proxy"):
        os.environ[scheme] = "http://127.0.0.1:9"


def no_privileges():
    """Give up root's right to read and write everything; other users have none."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        nothing = (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, nothing) == 0


def files_of_at_most_1_mb():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, resource.RLIM_INFINITY))


def ctrl_c_while_it_saves():
    os.fsync = lambda file: os.kill(os.getpid(), signal.SIGINT)


def little_memory(megabytes):
    """Let the process take so many megabytes more than it has."""
    import resource

    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    limit = taken + megabytes * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def memory_for_no_data():
    little_memory(30)


def memory_for_no_batch():
    little_memory(330)


# Flags


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--epochs", value) for value in ("0", "-1", "two", "1.5")]
    + [("--batch-size", value) for value in ("0", "-8", "x")]
    + [("--lr", value) for value in ("0", "-1", "nan", "inf", "fast")]
    + [("--log-interval", value) for value in ("0", "-1")]
    + [("--seed", value) for value in ("x", "-1", str(2**64))],
)
def test_bad_number(home, old, flag, value):
    result = Start(flag, value, "--data-dir", home / "new", *CPU, cwd=home).finish()
    line = one_line(result, status=2)
    assert f"error: argument {flag}: " in line
    assert value in line
    assert "int" in line or "float" in line or "above" in line
    assert result.stdout == ""
    assert names_in(home) == [NAME]
    assert old.read_bytes() == OLD


@pytest.mark.parametrize("device", ["toaster", "cuda", "cuda:99", "meta"])
def test_bad_device(home, old, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has it")
    result = Start("--device", device, "--data-dir", home / "new", cwd=home).finish()
    line = one_line(result, status=2)
    assert "argument --device" in line
    assert repr(device) in line
    assert "cpu" in line.split("choose from")[1]
    assert names_in(home) == [NAME]


@pytest.mark.parametrize("fault", ["no folder", "a folder", "no file"])
def test_checkpoint_that_cannot_be(home, small_data, fault):
    path = home / "there" / NAME
    if fault != "no folder":
        path.parent.mkdir()
    if fault == "a folder":
        path.mkdir()
    if fault == "no file":
        if os.name != "posix":
            pytest.skip("needs a POSIX system")
        os.mkfifo(path)
    flags = ("--checkpoint", path, "--data-dir", small_data, *CPU)
    result = Start(*flags, cwd=home).finish()
    assert str(path) in one_line(result, status=2)
    assert "Model Accuracy" not in result.stdout
    if fault == "no file":
        assert path.is_fifo()


@linux
@pytest.mark.parametrize("locked", ["folder", "file"])
def test_checkpoint_that_cannot_be_written(home, old, small_data, locked):
    (home if locked == "folder" else old).chmod(0o555)
    flags = ("--data-dir", small_data, *CPU)
    result = Start(*flags, cwd=home, prepare=no_privileges).finish()
    home.chmod(0o755)
    assert str(old) in one_line(result, status=2)
    assert "Model Accuracy" not in result.stdout
    assert old.read_bytes() == OLD


# Saving


@posix
def test_disk_full(home, old, small_data):
    flags = ("--data-dir", small_data, *CPU)
    result = Start(*flags, cwd=home, prepare=files_of_at_most_1_mb).finish()
    line = one_line(result)
    assert str(old) in line
    assert "File too large" in line
    assert old.read_bytes() == OLD
    assert names_in(home) == [NAME]


@linux
def test_disk_full_after_an_epoch(home, small_data):
    import resource

    flags = ("--data-dir", small_data, "--epochs", 10**6, *CPU)
    running = Start(*flags, cwd=home).wait_for("Model Accuracy", times=3)
    limit = (10**6, resource.RLIM_INFINITY)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, limit)
    assert str(home / NAME) in one_line(running.finish())
    assert is_whole(home / NAME)
    assert names_in(home) == [NAME]


@pytest.mark.parametrize("error", [OSError(28, "No space"), RuntimeError("half way")])
def test_torch_save_fails_half_way(home, old, monkeypatch, error):
    def save_half(state, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(SystemExit) as stop:
        train_mnist.save_checkpoint(torch.nn.Linear(1, 1), str(old))
    assert str(old) in stop.value.code
    assert "\n" not in stop.value.code
    assert old.read_bytes() == OLD
    assert names_in(home) == [NAME]


def test_bytes_reach_the_disk_before_the_file_takes_its_name(home, monkeypatch):
    """The model is smaller than a buffer, which has to be emptied in time."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(file):
        calls.append(("fsync", os.fstat(file.fileno()).st_size))
        fsync(file)

    def spy_replace(source, target):
        calls.append(("replace", os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    train_mnist.save_checkpoint(torch.nn.Linear(1, 1), str(home / NAME))
    size = (home / NAME).stat().st_size
    assert calls == [("fsync", size), ("replace", size)]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_while_it_saves(home, small_data, number):
    """Every epoch takes milliseconds here, so most of the time it is saving."""
    flags = ("--data-dir", small_data, "--epochs", 10**6, *CPU)
    for _ in range(8):
        running = Start(*flags, cwd=home).wait_for("Model Accuracy", times=2)
        time.sleep(random.uniform(0, 0.1))
        os.kill(running.process.pid, number)
        assert running.finish().returncode == -number
        assert is_whole(home / NAME)


def test_two_runs_save_to_one_checkpoint(home, small_data):
    flags = ("--data-dir", small_data, "--epochs", 8, *CPU)
    runs = [Start(*flags, "--seed", seed, cwd=home) for seed in (1, 2)]
    while any(running.process.is_alive() for running in runs):
        if (home / NAME).exists():
            assert is_whole(home / NAME)
    for running in runs:
        printed(running.finish())
    assert names_in(home) == [NAME]


# Stopping


@posix
@pytest.mark.parametrize("module", ["torch._C", "torch.nn", "torchvision.transforms"])
def test_ctrl_c_while_pytorch_is_imported(home, module):
    """With -X importtime, Python prints a line as soon as it has imported a module."""
    command = [sys.executable, "-X", "importtime", str(SCRIPT), "--device", "toaster"]
    process = subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.endswith(f" {module}\n"):
            process.send_signal(signal.SIGINT)
            break
    error = [line for line in process.stderr if not line.startswith("import time:")]
    if error[0].startswith("Exception ignored"):
        pytest.skip("Python lost the Ctrl-C in a callback of its own")
    assert error == ["Stopped: no checkpoint was saved\n"]
    assert process.wait() == 130


@posix
def test_ctrl_c_before_the_first_checkpoint(home, old, clone):
    flags = ("--data-dir", clone / "datasets", "--log-interval", 1, *CPU)
    running = Start(*flags, cwd=home).wait_for("Step [5/")
    os.kill(running.process.pid, signal.SIGINT)
    line = one_line(running.finish(), status=130)
    assert line == "Stopped: no checkpoint was saved\n"
    assert old.read_bytes() == OLD


@posix
def test_ctrl_c_after_an_epoch(home, clone):
    flags = ("--data-dir", clone / "datasets", "--batch-size", 6000, *CPU)
    flags += ("--epochs", 10**6, "--log-interval", 1)
    running = Start(*flags, cwd=home).wait_for("Epoch [3/")
    os.kill(running.process.pid, signal.SIGINT)
    line = one_line(running.finish(), status=130)
    assert line == f"Stopped: the checkpoint of epoch 2 is in {NAME}\n"
    assert is_whole(home / NAME)


@posix
def test_ctrl_c_while_it_saves(home, old, small_data):
    flags = ("--data-dir", small_data, *CPU)
    result = Start(*flags, cwd=home, prepare=ctrl_c_while_it_saves).finish()
    assert one_line(result, status=130) == "Stopped: no checkpoint was saved\n"
    assert old.read_bytes() == OLD
    assert names_in(home) == [NAME]


@posix
def test_ctrl_c_at_any_moment(home, small_data):
    flags = ("--data-dir", small_data, "--epochs", 10**6, *CPU)
    for _ in range(12):
        running = Start(*flags, cwd=home).wait_for("Device")
        time.sleep(random.uniform(0, 0.4))
        os.kill(running.process.pid, signal.SIGINT)
        result = running.finish()
        line = one_line(result, status=130)
        finished = result.stdout.count("Model Accuracy")
        allowed = ["Stopped: no checkpoint was saved\n"] if finished <= 1 else []
        for epoch in (finished - 1, finished):
            allowed.append(f"Stopped: the checkpoint of epoch {epoch} is in {NAME}\n")
        assert line in allowed
        assert not (home / NAME).exists() or is_whole(home / NAME)
        assert names_in(home) in ([], [NAME])


@posix
def test_standard_output_closed_early(home, small_data):
    script = f'"{sys.executable}" "{SCRIPT}" --data-dir "{small_data}" --device cpu'
    command = f"({script} --epochs 300; echo $? >&2) | head -n 2"
    result = run("sh", "-c", command, cwd=home)
    assert result.stdout.splitlines()[0] == "Device: cpu"
    line, status = result.stderr.splitlines()
    assert line == f"Stopped: the checkpoint of epoch 1 is in {NAME}"
    assert status != "0"
    assert is_whole(home / NAME)


@pytest.mark.parametrize("interval", [1, 10**6])
def test_loss_is_no_number_any_more(home, old, small_data, interval):
    flags = ("--data-dir", small_data, "--lr", "1e6", "--log-interval", interval, *CPU)
    line = one_line(Start(*flags, cwd=home).finish())
    assert "the loss is" in line
    assert "--lr" in line
    assert old.read_bytes() == OLD
    assert names_in(home) == [NAME]


@linux
@pytest.mark.parametrize("prepare", [memory_for_no_data, memory_for_no_batch])
def test_not_enough_memory(home, old, clone, prepare):
    flags = ("--data-dir", clone / "datasets", "--batch-size", 10**9, *CPU)
    Start(*flags, "--epochs", 1, "--checkpoint", "x.pth", cwd=home).finish()
    assert is_whole(home / "x.pth")  # there is enough, without the limit
    result = Start(*flags, cwd=home, prepare=prepare).finish()
    assert "not enough memory" in one_line(result)
    assert old.read_bytes() == OLD


def test_a_bug_shows_its_traceback(home, small_data):
    script = home / "train_mnist.py"
    text = SCRIPT.read_text("utf-8")
    for bug in ("nn.Linear(1024, 11).nonsense", "nn.Linear(1023, 10)"):
        script.write_text(text.replace("nn.Linear(1024, 10)", bug), "utf-8")
        flags = ("--data-dir", small_data, *CPU)
        result = Start(*flags, script=script, cwd=home).finish()
        assert result.returncode == 1
        assert "Traceback" in result.stderr


# Reading


@pytest.mark.parametrize("writable", [True, False])
def test_no_archives_and_no_network(home, tmp_path, writable):
    if not writable and sys.platform != "linux":
        pytest.skip("needs Linux")
    data_dir = tmp_path / "empty"
    data_dir.mkdir(mode=0o755 if writable else 0o555)

    flags = ("--data-dir", data_dir, *CPU)
    prepare = no_network if writable else no_privileges
    line = one_line(Start(*flags, cwd=home, prepare=prepare).finish())
    assert "cannot read MNIST" in line
    assert f"archives (*.gz) belong in {data_dir / 'MNIST' / 'raw'}" in line
    assert ("downloading" in line) is writable
    assert ("Permission denied" in line) is not writable


@pytest.mark.parametrize("archive", [path.name for path in ARCHIVES.glob("*.gz")])
@pytest.mark.parametrize("damage", ["a flipped bit", "cut short"])
def test_damaged_archive_and_no_network(home, tmp_path, archive, damage):
    raw = tmp_path / "data" / "MNIST" / "raw"
    copy_archives(raw)
    content = bytearray((raw / archive).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "cut short":
        del content[len(content) // 2 :]
    (raw / archive).write_bytes(content)
    flags = ("--data-dir", tmp_path / "data", *CPU)
    line = one_line(Start(*flags, cwd=home, prepare=no_network).finish())
    assert archive in line
    assert (raw / archive).read_bytes() == content


def damage(raw, split, fault):
    """Damage the unpacked files of one split; return (images, labels), their paths."""
    images, labels = (
        raw / f"{split}-images-idx3-ubyte",
        raw / f"{split}-labels-idx1-ubyte",
    )
    other = "t10k" if split == "train" else "train"
    for kind, path in (("images", images), ("labels", labels)):
        content = path.read_bytes()
        if fault == f"empty {kind}":
            path.write_bytes(b"")
        if fault == f"half a header of {kind}":
            path.write_bytes(content[:6])
        if fault == f"only the header of {kind}":
            path.write_bytes(content[: 16 if kind == "images" else 8])
        if fault == f"{kind} cut short":
            path.write_bytes(content[:-1])
        if fault == f"{kind} of the other split":
            path.write_bytes((raw / path.name.replace(split, other)).read_bytes())
    if fault == "labels for images":
        images.write_bytes(labels.read_bytes())
    if fault == "images for labels":
        labels.write_bytes(images.read_bytes())
    if fault == "not IDX at all":
        images.write_bytes(b"<html>404 Not Found</html>" * 1000)
    if fault == "another size of images":
        content = bytearray(images.read_bytes())
        content[8:16] = (14).to_bytes(4, "big") + (56).to_bytes(4, "big")
        images.write_bytes(content)
    if fault == "a label of 200":
        labels.write_bytes(labels.read_bytes()[:-1] + bytes([200]))
    return images, labels


@pytest.mark.parametrize("split", ["train", "t10k"])
@pytest.mark.parametrize(
    "fault",
    [
        "empty images",
        "empty labels",
        "half a header of images",
        "half a header of labels",
        "only the header of images",
        "only the header of labels",
        "images cut short",
        "labels cut short",
        "images of the other split",
        "labels of the other split",
        "labels for images",
        "images for labels",
        "not IDX at all",
        "another size of images",
        "a label of 200",
    ],
)
def test_damaged_unpacked_files(home, small_data, split, fault):
    images, labels = damage(small_data / "MNIST" / "raw", split, fault)
    line = one_line(Start("--data-dir", small_data, *CPU, cwd=home).finish())
    assert f"delete {images} and {labels}" in line
    assert names_in(home) == []


def test_the_next_run_makes_deleted_files_anew(home, clone, tmp_path):
    shutil.copytree(clone / "datasets", tmp_path / "data")
    raw = tmp_path / "data" / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"")
    (raw / "train-labels-idx1-ubyte").unlink(missing_ok=True)
    flags = ("--data-dir", tmp_path / "data", "--batch-size", 60000, *CPU)
    printed(Start(*flags, "--epochs", 1, cwd=home, prepare=no_network).finish())
    archive = gzip.decompress((raw / "train-images-idx3-ubyte.gz").read_bytes())
    assert (raw / "train-images-idx3-ubyte").read_bytes() == archive


@linux
@pytest.mark.parametrize("unpacked", [True, False])
def test_data_folder_that_cannot_be_written(home, small_data, tmp_path, unpacked):
    data_dir = small_data
    if not unpacked:
        data_dir = tmp_path / "archives"
        copy_archives(data_dir / "MNIST" / "raw")
    folders = (data_dir / "MNIST" / "raw", data_dir / "MNIST", data_dir)
    for folder in folders:
        folder.chmod(0o555)
    flags = ("--data-dir", data_dir, "--epochs", 1, *CPU)
    result = Start(*flags, cwd=home, prepare=no_privileges).finish()
    for folder in folders:
        folder.chmod(0o755)
    if unpacked:
        printed(result)
        assert is_whole(home / NAME)
    else:
        line = one_line(result)
        assert "Permission denied" in line
        assert str(folders[0]) in line


def test_two_first_runs_at_once(home, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    flags = ("--data-dir", tmp_path / "data", "--batch-size", 6000, "--epochs", 1, *CPU)
    for pause in (0, 0.2):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        copy_archives(raw)
        first = Start(*flags, cwd=home, prepare=no_network)
        time.sleep(pause)
        results = [Start(*flags, cwd=home, prepare=no_network).finish(), first.finish()]
        for result in results:
            if result.returncode != 0:
                assert "cannot read MNIST" in one_line(result)
        accuracies = {r.stdout.split("Time")[0] for r in results if r.returncode == 0}
        assert len(accuracies) == 1
        for archive in raw.glob("*.gz"):
            assert archive.with_suffix("").read_bytes() == gzip.decompress(
                archive.read_bytes()
            )
        assert is_whole(home / NAME)


def test_a_run_leaves_git_status_clean(clone):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", *identity, *arguments]
        result = subprocess.run(command, cwd=clone, capture_output=True, check=True)
        return result.stdout.decode()

    git("init", "--quiet")
    git("add", "train_mnist.py", ".gitignore", "datasets/MNIST/raw/*.gz")
    git("commit", "--quiet", "--message", "A clone")
    flags = ("--epochs", 1, "--batch-size", 6000, *CPU)
    result = Start(*flags, script=clone / "train_mnist.py", cwd=clone).finish()
    assert result.returncode == 0
    assert is_whole(clone / NAME)
    assert git("status", "--porcelain") == ""
