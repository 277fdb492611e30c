"""Print the classes of new photos, with the model that train_photos.py has saved.

python classify_photos.py new.jpg another.png
"""

import argparse

import torch
from train_photos import TRANSFORM, load_photo, make_model  # or its new name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument("--checkpoint", default="photos.pth", help="the saved model")
    args = parser.parse_args()

    saved = torch.load(args.checkpoint, map_location="cpu")
    classes = saved["classes"]
    model = make_model(len(classes))
    model.load_state_dict(saved["model"])
    model.eval()
    for path in args.photos:
        image = TRANSFORM(load_photo(path))
        with torch.no_grad():
            outputs = model(image.unsqueeze(0))  # a batch of one
        print(f"{path}: {classes[outputs.argmax().item()]}")


if __name__ == "__main__":
    main()
