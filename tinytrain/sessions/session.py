"""The one interface of everything that trains: numpy interpreter, host emulator, device."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import LinkError, SchemeError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class StepResult:
    """One training step: ``step`` counts from 1, ``loss`` in nats (mean over the labels)."""

    step: int
    loss: float
    correct: int
    count: int

    @classmethod
    def of_sums(cls, step: int, loss_q16: int, correct: int, count: int) -> StepResult:
        """From what the firmware counts: the sum of the losses in 2**-16 nat."""
        return cls(step, loss_q16 / 65536 / max(1, count), correct, count)


@dataclass(frozen=True)
class Choice:
    """A device's choice among its schemes: by ``probed`` samples, and what each is worth on these
    (``worth.py``; only how they compare means something)."""

    scheme: str
    probed: int
    worth: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """A whole data set: mean loss in nats a label, and how many labels were the arg max. Of no
    labels (``count`` 0) accuracy and bits are NaN: nothing was measured."""

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.count if self.count else float("nan")

    @property
    def bits(self) -> float:
        """Cross-entropy in bits a label."""
        return self.loss / float(np.log(2.0)) if self.count else float("nan")


class Session(ABC):
    """A compiled model that can be trained, asked and read, wherever it runs.

    ``x`` is one sample in real units (float32, quantized here) or integer tokens; ``y`` an integer
    class or ``[T]`` tokens, -1 for a label that does not count.
    """

    @abstractmethod
    def step(self, x: Array, y: Array | int) -> StepResult:
        """Train on one sample."""

    @abstractmethod
    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        """Logits of one sample, real units, ``[K]`` or ``[T, V]``."""

    @abstractmethod
    def score(self, x: Array, y: Array | int) -> StepResult:
        """Loss and correct labels of one sample, without training."""

    @abstractmethod
    def weights(self) -> dict[str, npt.NDArray[np.generic]]:
        """The trained tensors as stored: int8 ``[K, C]`` (with its fraction), int32 biases."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """Everything that persists between steps, as bytes for ``restore``."""

    @abstractmethod
    def restore(self, blob: bytes) -> None:
        """Put back what ``snapshot`` gave."""

    queries: tuple[str, ...] = ()

    def query(self, name: str, x: Array) -> Array:
        """The answer of a further entry of the program for one sample, in real units.

        Raises SchemeError for an entry that the firmware does not have, LinkError where the session
        cannot ask for any."""
        if name not in self.queries:
            has = ", ".join(self.queries) or "none"
            raise SchemeError(f"the firmware has no entry {name!r} that can be asked; it has {has}")
        return self._query(name, x)

    def _query(self, name: str, x: Array) -> Array:
        raise LinkError(f"{type(self).__name__} cannot ask for {name!r}: use numpy or host")

    # Of a firmware that holds several schemes: ``schemes`` are their names, the first is in use.

    schemes: tuple[str, ...] = ()

    def use(self, scheme: str) -> None:
        """Train this scheme from now on; weights stay. Raises SchemeError for an unknown one."""
        if scheme not in self.schemes:
            raise SchemeError(
                f"the firmware has no scheme {scheme!r}; it has {', '.join(self.schemes)}"
            )
        self._use(self.schemes.index(scheme))

    def probe(self, x: Array, y: Array | int) -> StepResult:
        """Look at a sample of a task for ``choose``; changes no weight."""
        self._need_several()
        return self._probe(x, y)

    def choose(self) -> Choice:
        """Train from now on the scheme that is worth most on the probed samples."""
        self._need_several()
        index, probed, worth = self._choose()
        if not probed or not any(worth):
            raise SchemeError(
                "nothing to choose by: probe samples first, with the lsb rule, as sgd measures no "
                "gradients"
            )
        named = {n: w / 2**24 for n, w in zip(self.schemes, worth, strict=True)}
        return Choice(self.schemes[index], probed, named)

    def _need_several(self) -> None:
        if len(self.schemes) < 2:
            raise SchemeError("the firmware holds one scheme, so there is nothing to choose")

    def _use(self, index: int) -> None:
        raise NotImplementedError

    def _probe(self, x: Array, y: Array | int) -> StepResult:
        raise NotImplementedError

    def _choose(self) -> tuple[int, int, list[int]]:
        """Index, samples that were looked at, worth of each scheme, times 2^24."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 - sessions without resources need none
        """Free what the session holds."""

    def steps(
        self, xs: Sequence[Array] | Array, ys: Sequence[Array | int] | Array
    ) -> list[StepResult]:
        """Train on one sample after the other, the same as ``step`` on each."""
        return [self.step(x, y) for x, y in zip(xs, ys, strict=True)]

    def evaluate(self, xs: Iterable[Array], ys: Iterable[Array | int]) -> Evaluation:
        """Score a data set."""
        loss, correct, count = 0.0, 0, 0
        for x, y in zip(xs, ys, strict=True):
            result = self.score(x, y)
            loss += result.loss * result.count
            correct += result.correct
            count += result.count
        return Evaluation(loss / max(1, count), correct, count)

    def weights_sha256(self) -> str:
        """One hash of all trained tensors, by name."""
        return hash_weights(self.weights())

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hash_weights(weights: dict[str, npt.NDArray[np.generic]]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
