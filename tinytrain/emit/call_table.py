"""Calls of one kernel that differ in few arguments, made by a function from a table.

A call costs a processor's code for each of its arguments. In a table, an address of the arena takes
two bytes and a number as few as it needs; what all calls have in common stands in the function
once, and calls that are alike share a row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..planning.placement import ALIGN, WHOLE

MAIN = WHOLE[-1].name  # the arena in the memory that all else is in, too
FEW = 2  # so many calls stay as they are, unless they are alike
WIDE = 24  # arguments of a call that takes much stack
WIDTH = 100
# By rising size; unsigned first, as Thumb reads them with shorter code.
INTEGERS = {"uint8_t": (0, 2**8), "int8_t": (-(2**7), 2**7), "uint16_t": (0, 2**16),
            "int16_t": (-(2**15), 2**15)}  # fmt: skip
SIZES = {"uint8_t": 1, "int8_t": 1, "uint16_t": 2, "int16_t": 2}  # others: 4

Kind = Literal["arena", "symbol", "number", "float", "step", "null"]


@dataclass(frozen=True)
class Argument:
    """An argument of a kernel: ``name`` as the table has it, C type, value.

    ``arena``: bytes from the start of a region's arena; ``symbol``: a pointer as C text; ``number``
    and ``float``: C text. ``stride``: elements from one row to the next, where the calls of a loop
    begin at its row. ``step`` and ``null`` have no value.
    """

    name: str
    kind: Kind
    ctype: str = ""
    value: str = ""
    region: str = MAIN
    stride: int = 0

    @property
    def form(self) -> tuple[object, ...]:
        """What calls in one table have in common."""
        return self.name, self.kind, self.ctype, self.region


@dataclass(frozen=True)
class KernelCall:
    """``looped``: in a loop over rows. ``what``: for the reader, where the call comes from."""

    kernel: str
    arguments: tuple[Argument, ...]
    looped: bool
    what: str

    @property
    def form(self) -> tuple[object, ...]:
        return self.kernel, *(a.form for a in self.arguments)

    @property
    def row(self) -> tuple[tuple[str, int], ...]:
        return tuple((a.value, a.stride) for a in self.arguments)

    @property
    def step(self) -> str | None:
        """The step as it is passed on, where the kernel wants it."""
        if all(a.kind != "step" for a in self.arguments):
            return None
        return "&at" if self.looped else "st"

    def code(self, indent: str) -> str:
        """The call with all of its arguments."""
        items = [place(a, a.value, str(a.stride), self.step or "") for a in self.arguments]
        return wrapped(f"tt_{self.kernel}(", items, ");", indent)


def place(argument: Argument, value: str, stride: str, step: str) -> str:
    """C of an argument, given that of its value and of its stride."""
    if argument.kind == "null":
        return "NULL"
    if argument.kind == "step":
        return step
    text = value
    if argument.kind == "arena":
        inner = argument.ctype.removeprefix("const ").removesuffix(" *")
        main = argument.region == MAIN
        text = f"AT({inner}, {value})" if main else f"IN({argument.region}, {inner}, {value})"
    if stride == "0":
        return text
    return f"{text} + row" + (f" * {stride}" if stride != "1" else "")


def wrapped(head: str, items: Sequence[str], tail: str, indent: str) -> str:
    """``head`` and the items between commas, in lines that end behind an item."""
    glue = "\0"
    text = ", ".join(item.replace(" ", glue) for item in items)
    return textwrap.fill(
        head.replace(" ", glue) + text + tail.replace(" ", glue), WIDTH, initial_indent=indent,
        subsequent_indent=indent + " " * 4, break_long_words=False, break_on_hyphens=False,
    ).replace(glue, " ")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A field of a table; values as C text, one a row."""

    name: str
    ctype: str
    values: tuple[str, ...]


class Caller:
    """The function and the table that make some calls of a kernel. ``name`` is the function's."""

    def __init__(self, name: str, calls: Sequence[KernelCall]) -> None:
        self.name, self.first = name, calls[0]
        self.at: dict[tuple[tuple[str, int], ...], int] = {}
        self.what: list[str] = []
        for call in calls:
            if self.at.setdefault(call.row, len(self.at)) == len(self.what):
                self.what.append(call.what)
        self.columns: list[Column] = []
        rows = list(self.at)
        self.moves = any(stride for row in rows for _, stride in row)
        self.arguments = [
            place(argument, *self._value(argument, [row[i] for row in rows]), "st")
            for i, argument in enumerate(self.first.arguments)
        ]
        self.columns.sort(key=lambda c: (-SIZES.get(c.ctype, 4), c.ctype))

    def _value(self, argument: Argument, values: Sequence[tuple[str, int]]) -> tuple[str, str]:
        """C of the argument's value and of its stride: a constant, or a field of the row."""
        texts = [value for value, _ in values]
        strides = [stride for _, stride in values]
        stride = self._field(argument.name + "_row", integer(strides), map(str, strides))
        if argument.kind == "arena":
            units = [int(text) // ALIGN for text in texts]
            unit = self._field(argument.name, integer(units), [f"{t} / {ALIGN}" for t in texts])
            return texts[0] if len(set(texts)) == 1 else f"{ALIGN} * {unit}", stride
        ctype = argument.ctype
        if argument.kind == "number":
            ctype = integer([int(text) for text in texts])
        return self._field(argument.name, ctype, texts), stride

    def _field(self, name: str, ctype: str, values: Iterable[str]) -> str:
        """What all rows have; otherwise a field, made where none has these values."""
        texts = tuple(values)
        if len(set(texts)) == 1:
            return texts[0]
        same = (c for c in self.columns if (c.ctype, c.values) == (ctype, texts))
        column = next(same, None)
        if column is None:
            column = Column(name, ctype, texts)
            self.columns.append(column)
        return f"c->{column.name}"

    def call(self, call: KernelCall, indent: str) -> str:
        """C that makes one of the calls."""
        given = [str(self.at[call.row])] if self.columns else []
        given += [call.step] if call.step else []
        given += ["row" if call.looped else "0"] if self.moves else []
        return f"{indent}{self.name}({', '.join(given)});"

    @property
    def parameters(self) -> str:
        found = ["int32_t i"] if self.columns else []
        found += ["const tt_step *st"] if self.first.step else []
        found += ["int32_t row"] if self.moves else []
        return ", ".join(found) or "void"

    @property
    def body(self) -> str:
        return wrapped(f"tt_{self.first.kernel}(", self.arguments, ");", " " * 4)

    @property
    def fields(self) -> list[str]:
        """Declarations, one for each C type."""
        found: dict[str, list[str]] = {}
        for column in self.columns:
            found.setdefault(column.ctype, []).append(column.name)
        return [
            f"{ctype}{', *'.join(names)}" if ctype.endswith("*") else f"{ctype} {', '.join(names)}"
            for ctype, names in found.items()
        ]

    @property
    def rows(self) -> list[str]:
        """Initializers, each with where the call comes from."""
        return [
            f"{wrapped('{', [c.values[i] for c in self.columns], '},', ' ' * 4)} /* {what} */"
            for i, what in enumerate(self.what)
        ]


def integer(values: Sequence[int]) -> str:
    """The smallest type that holds all of them."""
    low, high = min(values), max(values)
    return next((t for t, (a, b) in INTEGERS.items() if a <= low and high < b), "int32_t")


def callers_of(calls: Sequence[KernelCall]) -> Mapping[tuple[object, ...], Caller]:
    """By the form of the calls: what makes those of which there are many, or several alike.

    Wide calls are all made so, or none: the stack would hold the arguments of one call in the frame
    of the step, for as long as it runs, and those of another in the frame of what makes it.
    """
    forms: dict[tuple[object, ...], list[KernelCall]] = {}
    for call in calls:
        forms.setdefault(call.form, []).append(call)
    many = {
        form
        for form, made in forms.items()
        if len(made) > FEW or (len(made) > 1 and len({call.row for call in made}) == 1)
    }
    wide = {form for form, made in forms.items() if len(made[0].arguments) >= WIDE}
    found: dict[tuple[object, ...], Caller] = {}
    count: dict[str, int] = {}
    for form, made in forms.items():
        if form in many or (form in wide and many & wide):
            name = made[0].kernel
            count[name] = count.get(name, 0) + 1
            found[form] = Caller(name + (f"_{count[name]}" if count[name] > 1 else ""), made)
    return found
