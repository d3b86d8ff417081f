"""A tensor that is read from memory gives what its `item` gives; what cannot be read so is left to Python."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import fastlog, values
from tests.support.requirements import require

torch = pytest.importorskip("torch")
READ = ["float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"]
LEFT = ["float16", "bfloat16", "complex64"]


@pytest.fixture(autouse=True)
def _compiled() -> None:
    require(fastlog.COMPILED, "the compiled log: a C compiler and Python's headers when telemetryd was installed")
    require(hasattr(torch.Tensor, "__dlpack_c_exchange_api__"), "a torch with DLPack's table for C, 2.10 or newer")


class Left(Exception):
    """The value was left to Python."""


def leave(value: Any) -> Any:
    raise Left


def reader(rest: Any = leave) -> Any:
    scalars = fastlog.Scalars(rest)
    assert scalars.know(torch.Tensor)
    return scalars


def same(found: Any, wanted: Any) -> bool:
    return type(found) is type(wanted) and (found == wanted or (math.isnan(found) and math.isnan(wanted)))


@given(
    st.sampled_from(READ), st.floats(-128, 127) | st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 3)
)
def test_a_number_is_what_item_gives(kind: str, number: float, dims: int) -> None:
    if not kind.startswith("float"):
        number = abs(int(number)) if math.isfinite(number) else 1
    tensor = torch.tensor(number, dtype=getattr(torch, kind)).reshape((1,) * dims)
    assert same(reader()(tensor), tensor.item())


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_64_bit_integer_is_exact(number: int) -> None:
    assert reader()(torch.tensor(number)) == number


def test_a_part_of_a_larger_tensor_is_read_at_its_place() -> None:
    read = reader()
    assert [read(torch.arange(6)[::2][i]) for i in range(3)] == [0, 2, 4]
    assert read(torch.arange(6.0).reshape(2, 3).t()[2:, 1:]) == 5
    assert read(torch.tensor(2.0, requires_grad=True) * 3) == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor(1 + 2j).conj().imag,  # torch negates what is in memory
        lambda: torch._neg_view(torch.tensor(2.0)),
        lambda: torch._efficientzerotensor((), dtype=torch.float32),  # has no memory
        lambda: torch.tensor([2.0]).to_sparse(),
        lambda: torch.empty((), device="meta"),
        lambda: torch.nn.Parameter(torch.tensor(1.0)),  # a subclass
        lambda: torch.zeros(2),
        lambda: torch.zeros(0),
        *[lambda kind=kind: torch.tensor(1.5, dtype=getattr(torch, kind)) for kind in LEFT],
        lambda: 1.5,
    ],
)
def test_what_is_not_certain_is_left_to_python(make: Any) -> None:
    with pytest.raises(Left):
        reader()(make())


def test_within_a_transform_a_tensor_has_no_memory_and_is_left() -> None:
    left = []

    def inside(tensor: Any) -> Any:
        with pytest.raises(Left):
            reader()(tensor)
        left.append(tensor)
        return tensor * 2

    torch.vmap(inside)(torch.arange(3.0))
    assert left


def test_a_class_without_the_table_is_not_known() -> None:
    scalars = fastlog.Scalars(leave)
    assert not scalars.know(int)
    with pytest.raises(TypeError, match="takes a class"):
        scalars.know(1)
    with pytest.raises(Left):
        scalars(torch.tensor(1.0))


def test_a_row_has_the_same_bytes_as_with_item() -> None:
    row = {"loss": torch.tensor(0.5), "n": torch.tensor(3), "ok": torch.tensor(True), "half": torch.tensor(1.5).half()}
    assert values.encode_row_data(dict(row)) == values.encode_row_data(
        {key: value.item() for key, value in row.items()}
    )
    assert values.encode_row_data({"a": torch.tensor(1 + 2j).conj().imag}) == values.encode_row_data({"a": -2.0})
    assert values.encode_row_data({"a": torch.nn.Parameter(torch.tensor(1.0))}) == values.encode_row_data({"a": 1.0})


def test_it_is_collected_with_what_it_holds() -> None:
    class Rest:
        def __call__(self, value: Any) -> Any:
            return value

    rest = Rest()
    rest.reader = reader(rest)  # type: ignore[attr-defined]
    assert rest.reader("x") == "x"  # type: ignore[attr-defined]
    gone = weakref.ref(rest)
    del rest
    gc.collect()
    assert gone() is None
