"""A camera that was mounted at an angle learns to see again, on the microcontroller.

A compact convolutional transformer leaves the factory knowing ten kinds of clothes from upright
images. The device's camera is turned by 30 degrees, and the model is lost. 1000 labelled images
later, one at a time, it sees again; what it has forgotten of upright images is measured as well.

    apt-get install dataset-fashion-mnist
    tinytrain run examples/cct.py --target host

The images are those of Fashion-MNIST, all of them photographs, with a border that makes them 32x32.
The turned camera is made by the computer: the same kind of image, rotated. No image serves twice:
pre-training, adaptation and both tests have their own.

The last block trains, and the head. Convolutions and positions, which turn pixels into tokens, stay
as they are in flash.
"""

from tinytrain.datasets import cache_root, load_fashion, take
from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import CCT

SCHEME = UpdateScheme(
    weights={"blocks.1.*": 1.0, "head": 1.0},
    biases=("blocks.1.*", "head"),
    name="last block + head",
)
PRETRAINING = Settings(steps=1500, batch=32, learning_rate=1.5e-3)  # about two minutes on one core


def recipe(
    degrees: float = 30.0,
    steps: int = 1000,
    seed: int = 0,
    test_images: int = 1000,
    pretraining: Settings = PRETRAINING,
    known: int = 10,
) -> Recipe:
    """``degrees`` the camera is turned by; how many images the device learns from; their order; how
    many test images of either kind; the classes that the factory had, the first so many."""
    data = load_fashion(degrees, test_images=test_images, seed=seed, known=known)
    model = pretrain(CCT(), data.pretrain, pretraining, cache=cache_root(), name="cct")
    return Recipe(
        name="cct",
        model=model,
        calibration=take(data.pretrain, 64).x,  # what the factory knows, not the turned camera
        train=data.adapt,
        tests={"turned camera": data.target, "upright": data.source},
        loss="classes",
        scheme=SCHEME,
        optimizer=Optimizer(rule="lsb", learning_rate=0.5, steps=steps),
        metric="accuracy",
        note=f"Fashion-MNIST, 32x32; for the turned camera rotated by {degrees:g} degrees on the "
        "computer; both tests are images of the test file, each its own",
    )
