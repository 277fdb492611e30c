"""Train a ResNet-18 on your photos, evaluate it after each epoch, and save it.

The six steps are those of Tutorial-1 on https://blog.nerdfactory.ai (2020, in Korean).
The photos of each class are in a folder of its name: pictures/cat, pictures/dog, ...
"""

import argparse
import contextlib
import math
import os
import time
import unicodedata
from collections import Counter
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import nn
from torch.utils.data import DataLoader, random_split

# Of each photo, the middle square of 224 x 224 pixels, normalised as on ImageNet
TRANSFORM = torchvision.models.ResNet18_Weights.DEFAULT.transforms()


def main():
    """Run the blog post's six steps. Steps 1, 2 and 6 call the functions below."""
    args = parse_args()  # by default 10 epochs, batches of 8, learning rate 0.01
    torch.manual_seed(args.seed)  # the same initial weights and shuffling in every run
    print(f"Device: {args.device}")

    # 1. DataSet
    train_dataset = read_photos(args.data_dir)
    classes = train_dataset.classes
    show_classes(train_dataset)
    least = min(Counter(train_dataset.targets).values())
    if len(classes) < 2 or len(train_dataset) < 10 or least < 2:
        problem = "at least two classes, and ten samples, two for each class"
        raise SystemExit(f"error: too few: {problem}")
    if args.eval_dir:
        eval_dataset = read_photos(args.eval_dir)
        print(f"To evaluate with, from {args.eval_dir}:")
        show_classes(eval_dataset)
        others = set(classes) ^ set(eval_dataset.classes)
        if others:
            raise SystemExit(f"error: only in one of the folders: {sorted(others)}")
    else:
        train_dataset, eval_dataset = random_split(train_dataset, [0.8, 0.2])
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
    eval_loader = DataLoader(eval_dataset, batch_size=args.batch_size, shuffle=False)

    # 2. Model
    # The weights of ImageNet are downloaded once. weights=None needs no network, but a
    # few hundred photos are then too few.
    model = make_model(len(classes), weights="DEFAULT")
    model = model.to(args.device)  # moves it to the GPU, if one is used

    # 3. Criterion
    # Compares outputs (n, classes), scores (logits), with targets (n,): the loss is
    # small if the right class scores far above the rest. Includes softmax: the model
    # has none.
    criterion = nn.CrossEntropyLoss()

    # 4. Optimizer
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

    # 5. Train Iterator
    total_step = len(train_loader)
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        model.train()  # switches layers such as Dropout, not autograd; undoes eval()
        for step, (inputs, targets) in enumerate(train_loader, start=1):
            # A batch: photos (n, channels=3, 224, 224) and their classes (n,)
            inputs, targets = inputs.to(args.device), targets.to(args.device)
            outputs = model(inputs)  # scores (n, classes)
            loss = criterion(outputs, targets)

            optimizer.zero_grad()  # clears the old gradients: backward() adds to them
            loss.backward()  # computes the gradient of the loss for each parameter
            optimizer.step()  # SGD: parameter -= lr * gradient

            if step % args.log_interval == 0 or step == total_step:
                progress = f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}]"
                print(f"{progress}, Loss: {loss.item():.4f}", flush=True)

        # 6. Evaluation Logic
        accuracy, eval_loss = evaluate(model, criterion, eval_loader, args.device)
        seconds = time.perf_counter() - start
        result = f"Model Accuracy: {accuracy:.2f} %, Eval Loss: {eval_loss:.4f}"
        print(f"{result}, Time: {seconds:.1f} s", flush=True)
        if not math.isfinite(eval_loss):
            problem = f"the loss is {eval_loss}, so this epoch is not saved"
            raise SystemExit(f"error: {problem}; try a smaller --lr, or check the data")

        # Checkpoint
        # Save under a temporary name first: an interruption leaves the old file whole.
        unfinished = f"{args.checkpoint}.{os.getpid()}"
        with open(unfinished, "wb") as file:  # gives a clear error if the disk is full
            torch.save({"model": model.state_dict(), "classes": classes}, file)
        os.replace(unfinished, args.checkpoint)
        # To load: see classify_photos.py. To go on training from it, save to another
        # --checkpoint.
    print(f"Checkpoint: {args.checkpoint}")


def read_photos(folder):
    """Return pairs of a photo, a tensor (3, 224, 224), and the number of its class."""
    try:
        return PhotoFolder(folder, TRANSFORM, None, load_photo, is_valid_file=is_photo)
    except FileNotFoundError as error:  # a class without photos
        raise SystemExit(f"error: {folder}: {error}") from None


class PhotoFolder(torchvision.datasets.ImageFolder):
    """ImageFolder with tidy names of classes and without folders in their folders."""

    def find_classes(self, directory):
        """Return the names of the classes, and each folder's number in that list."""
        folders = [path for path in Path(directory).iterdir() if path.is_dir()]
        if not folders:
            raise SystemExit(f"error: {directory} has no folders, one for each class")
        for path in folders:
            if path.name.startswith("."):
                raise SystemExit(f"error: {path} is a hidden folder: delete it")
            for inner in path.iterdir():
                if inner.is_dir():
                    raise SystemExit(f"error: {inner} is a folder, not a photo")
        classes = sorted({tidy(path.name) for path in folders})
        return classes, {path.name: classes.index(tidy(path.name)) for path in folders}


def tidy(name):
    """Return a name without spaces around it, and with letters as most systems write.

    A Mac may store 가 as the two letters ㄱ and ㅏ, which looks the same.
    """
    return unicodedata.normalize("NFC", name.strip())


def is_photo(path):
    """Say whether a file is a photo, and none that Windows or macOS hides there."""
    name = Path(path).name.lower()
    return not name.startswith(".") and name not in ("desktop.ini", "thumbs.db")


def load_photo(path):
    """Return a photo, turned upright, with white in place of transparent parts."""
    Image.MAX_IMAGE_PIXELS = None  # the limit is for strangers' files
    try:
        photo = Image.open(path)
        if photo.mode[0] in "IF":  # a conversion to 8 bits would make it white or black
            raise ValueError("grey of more than 8 bits; save it with 8")
        photo.draft("RGB", (512, 512))  # decodes a large JPEG at a smaller size
        photo.load()
    except UnidentifiedImageError:
        cure = "save HEIC as JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
        raise SystemExit(f"error: {path} is no JPEG or PNG: {cure}") from None
    except Exception as error:
        raise SystemExit(f"error: cannot read {path}: {error}") from None
    with contextlib.suppress(Exception):  # broken EXIF data in a sound photo
        photo = ImageOps.exif_transpose(photo)
    photo = photo.convert("RGBA")
    white = Image.new("RGBA", photo.size, "white")
    return Image.alpha_composite(white, photo).convert("RGB")


def show_classes(dataset):
    """Print the samples of each class, and the accuracy of always answering one."""
    counts = Counter(dataset.targets)
    for number, name in enumerate(dataset.classes):
        print(f"{counts[number]} samples of {name}")
    percent = 100 * max(counts.values()) / len(dataset)
    print(f"Always answering the largest class would give {percent:.2f} %")


def make_model(classes, weights=None):
    """Return the model: from photos (n, 3, 224, 224) to scores (n, classes)."""
    model = torchvision.models.resnet18(weights=weights)
    model.fc = nn.Linear(model.fc.in_features, classes)  # in place of ImageNet's 1000
    return model


def evaluate(model, criterion, eval_loader, device):
    """Return the accuracy in percent and the mean loss over all samples.

    The model is left in evaluation mode. With class weights, the mean is approximate.
    """
    model.eval()  # switches layers such as Dropout; autograd stays on
    correct_cnt, total_cnt, total_loss = 0, 0, 0.0
    with torch.no_grad():  # turns autograd off, as no gradients are needed here
        for inputs, targets in eval_loader:
            inputs, targets = inputs.to(device), targets.to(device)
            outputs = model(inputs)
            loss = criterion(outputs, targets)

            predicted = outputs.argmax(dim=1)  # the class with the highest score
            correct_cnt += (predicted == targets).sum().item()
            total_cnt += len(targets)
            total_loss += loss.item() * len(targets)  # loss is the mean over the batch
    return 100 * correct_cnt / total_cnt, total_loss / total_cnt


def parse_args():
    """Return the flags' values: --batch-size 32 becomes args.batch_size == 32."""
    device = "cpu"
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator().type  # such as cuda or mps
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=8, help="samples per step")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument(
        "--log-interval", type=int, default=5, help="steps between printed losses"
    )
    parser.add_argument("--device", default=device, help="cpu, cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--data-dir", type=Path, default="pictures", help="a folder for each class"
    )
    parser.add_argument(
        "--eval-dir", type=Path, help="such a folder; if none, a fifth of --data-dir"
    )
    parser.add_argument(
        "--checkpoint", type=Path, default="photos.pth", help="file to save to"
    )
    args = parser.parse_args()
    if min(args.epochs, args.batch_size, args.log_interval) < 1:
        parser.error("--epochs, --batch-size and --log-interval must be 1 or more")
    for folder in (args.data_dir, args.eval_dir or args.data_dir):
        if not folder.is_dir():
            parser.error(f"--data-dir and --eval-dir must be folders, not {folder}")
    path = args.checkpoint
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        parser.error("--checkpoint must be a file in a folder that exists")
    return args


if __name__ == "__main__":
    main()
