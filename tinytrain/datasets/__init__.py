"""Every data loader in one place. Nothing is downloaded unless ``fetch_npm()`` is called.

``load_watch(person)``: smartwatch exercises, a new person's other arm.
``load_fashion()``: images of clothes, upright, then from a turned camera.
``load_digits()``: handwritten digits, MNIST, then other writers and another scanner.
``load_text()``: addresses of the nineteenth century, then a modern speaker or a novel.
"""

from .common import cache_root, data_root, fingerprint, take
from .digits import load_digits
from .fashion import load_fashion
from .images import ImageSplit
from .npm import fetch_npm
from .text import VOCABULARY, TextSplit, decode, encode, load_text
from .watch import WatchSplit, load_watch, validation_people, watch_proxies

__all__ = [
    "VOCABULARY",
    "ImageSplit",
    "TextSplit",
    "WatchSplit",
    "cache_root",
    "data_root",
    "decode",
    "encode",
    "fetch_npm",
    "fingerprint",
    "load_digits",
    "load_fashion",
    "load_text",
    "load_watch",
    "take",
    "validation_people",
    "watch_proxies",
]
