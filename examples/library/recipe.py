"""A machine's vibration, by an accelerometer of three axes: four states. The factory knows one
mounting; main.c beside this file learns another one on the device, from its own sensor."""

import numpy as np
import torch

from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Dataset, Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import SensorTransformer

WINDOW, AXES, STATES = 24, 3, 4
FACTORY, TURNED = (1.0, 0.6, -0.8), (-0.8, 1.0, 0.6)  # gain of each axis


def windows(count: int, seed: int, gains: tuple[float, ...]) -> Dataset:
    """Triangle waves whose frequency is the state, as main.c makes them, and noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, STATES, count)
    steps = (3000 + 2000 * y)[:, None, None] * np.arange(1, WINDOW + 1)[None, :, None]
    phase = rng.integers(0, 65536, count)[:, None, None] + steps + 9000 * np.arange(AXES)
    wave = np.abs(phase % 65536 - 32768) / 16384 - 1
    x = wave * np.array(gains) + rng.uniform(-0.25, 0.25, (count, WINDOW, AXES))
    return Dataset(x.astype(np.float32), y)


def recipe() -> Recipe:
    torch.manual_seed(0)
    known = windows(1500, 1, FACTORY)
    model = SensorTransformer(WINDOW, AXES, patch=4, d=16, blocks=2, heads=2, classes=STATES)
    return Recipe(
        name="vibration",
        model=pretrain(model, known, Settings(steps=150, batch=32), quiet=True),
        calibration=known.x[:64],
        train=windows(400, 2, TURNED),
        tests={"turned": windows(200, 3, TURNED), "known": windows(200, 4, FACTORY)},
        loss="classes",
        scheme=UpdateScheme({"embed": 1.0, "*.o": 1.0, "head": 1.0}, biases=("head",)),
        optimizer=Optimizer(rule="lsb", learning_rate=2.0, steps=400),
    )
