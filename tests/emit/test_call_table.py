"""Calls of kernels by functions and tables: which calls are made so."""

from __future__ import annotations

from tinytrain.emit.call_table import FEW, WIDE, Argument, KernelCall, callers_of


def call(kernel: str, count: int, value: int, null: bool = False) -> KernelCall:
    """A call of ``count`` numbers, the first of which is ``value`` or, in another form, NULL."""
    first = Argument("a0", "null") if null else Argument("a0", "number", "int32_t", str(value))
    rest = (Argument(f"a{i}", "number", "int32_t", str(i)) for i in range(1, count))
    return KernelCall(kernel, (first, *rest), looped=False, what="here")


def test_many_calls_or_several_alike_are_made_by_a_function() -> None:
    few = [call("few", 4, value) for value in range(FEW)]
    many = [call("many", 4, value) for value in range(FEW + 1)]
    alike = [call("alike", 4, 7)] * 2
    found = callers_of([*few, *many, *alike])
    assert {caller.name for caller in found.values()} == {"many", "alike"}
    assert found[many[2].form].call(many[2], "") == "many(2);"
    assert found[alike[0].form].call(alike[0], "") == "alike();"


def test_wide_calls_are_all_made_by_functions_or_none() -> None:
    many = [call("grad", WIDE, value) for value in range(FEW + 1)]
    last = call("grad", WIDE, 0, null=True)
    other, narrow = call("conv", WIDE + 2, 0), call("norm", WIDE - 1, 0)
    assert not callers_of([last, other, narrow])
    names = {caller.name for caller in callers_of([*many, last, other, narrow]).values()}
    assert names == {"grad", "grad_2", "conv"}
    assert callers_of([*many, last])[last.form].call(last, "") == "grad_2();"
