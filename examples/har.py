"""A smartwatch learns a new wearer, on the watch.

The watch leaves the factory knowing seven shoulder exercises from nine people's right arms. The
tenth person buys it and straps it to the left arm: another body, mirrored axes, and the model is
lost. They do each exercise once while the watch is told which it is; 300 single-sample steps on the
microcontroller later it knows them. What it has forgotten of the right arm is measured as well.

    tinytrain run examples/har.py --target host

The change is one of the input domain, so early blocks must move: the attention outputs ``o`` of all
four blocks train, and the head; about a tenth of the parameters.
"""

from tinytrain.datasets import cache_root, load_watch, take, watch_proxies
from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import SensorTransformer

SCHEME = UpdateScheme(
    weights={"blocks.*.o": 1.0, "head": 1.0}, biases=("blocks.*.o", "head"), name="o of all + head"
)
PRETRAINING = Settings(steps=300, batch=64, learning_rate=2e-3)  # about 20 s on one core


def recipe(person: int = 5, steps: int = 300, seed: int = 0) -> Recipe:
    """The new person, 1 to 10; how many samples the device learns from; the order of these."""
    data = load_watch(person, seed=seed)
    model = pretrain(
        SensorTransformer(),
        data.pretrain,
        PRETRAINING,
        cache=cache_root(),
        name=f"har-person{person}",
    )
    return Recipe(
        name=f"har-person{person}",
        model=model,
        calibration=take(data.pretrain, 128).x,  # what the factory knows, not the new person
        train=data.adapt,
        tests={"left arm (new)": data.target, "right arm (old)": data.source},
        loss="classes",
        scheme=SCHEME,
        optimizer=Optimizer(rule="lsb", learning_rate=3.0, steps=steps),
        metric="accuracy",
        note=f"person {person}: pre-trained on nine others' right arms; 30 % of each left-arm "
        "recording adapts, the rest is the test; the right arm is never trained on",
        proxies=watch_proxies(data, seed=seed),  # other people's left arms
    )
