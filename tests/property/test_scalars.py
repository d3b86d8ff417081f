"""A tensor that is read from memory gives what its `item` gives; what cannot be read so is left to Python."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from typing import Any

import msgspec
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


ITEMS = (
    st.floats()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(-(1 << 17), 1 << 17)
    | st.booleans()
    | st.text(max_size=40)
)
TENSORS = ITEMS.filter(lambda item: not isinstance(item, str)).map(
    lambda item: torch.tensor(item, dtype=torch.float64 if isinstance(item, float) else None)
)
MORE = st.none() | st.lists(st.integers(), max_size=2) | st.just(1 << 64) | st.text(min_size=250, max_size=300)


def alone(row: dict[str, Any]) -> bytes:
    """What it makes of the row by itself. Raises Left."""
    return bytes(fastlog.Rows(reader(), leave)(row))


@given(st.dictionaries(st.text(max_size=40), ITEMS | TENSORS | MORE, max_size=70))
def test_a_row_of_tensors_has_the_encoders_bytes(row: dict[str, Any]) -> None:
    encode = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode
    try:
        wanted = encode(row)
    except (OverflowError, UnicodeEncodeError) as error:
        with pytest.raises(type(error)):
            fastlog.Rows(reader(), encode)(row)
        return
    assert fastlog.Rows(reader(), encode)(row) == wanted


@given(st.dictionaries(st.text("ab/_", min_size=1, max_size=9), ITEMS | TENSORS, min_size=1, max_size=60))
def test_usual_rows_of_tensors_are_encoded_without_the_encoder(row: dict[str, Any]) -> None:
    row = {key: value for key, value in row.items() if not isinstance(value, str) or value.isascii()}
    if any(isinstance(value, torch.Tensor) for value in row.values()):
        assert alone(row) == msgspec.msgpack.encode(
            {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in row.items()}
        )
    else:
        with pytest.raises(Left):
            alone(row)


@pytest.mark.parametrize(
    "row",
    [
        {f"m{i}": torch.tensor(1.0) for i in range(65)},
        {f"{i:0250d}": torch.tensor(1.0) for i in range(16)},
        {"z": torch.tensor(1.0), 1: 2.0},
        {"é": torch.tensor(1.0)},
        {"a": torch.tensor(1.0), "b": None},
        {"a": torch.zeros(3), "b": 1.0},
        {"a": torch.tensor(1.0), "b": torch.tensor(1 + 2j).conj().imag},
    ],
    ids=["many", "long", "a key not str", "a key not ASCII", "None", "no scalar", "negated"],
)
def test_unusual_rows_of_tensors_are_left_to_the_encoder(row: dict[Any, Any]) -> None:
    with pytest.raises(Left):
        alone(row)


def test_threads_that_change_a_row_while_it_is_encoded_harm_nothing() -> None:
    row: dict[str, Any] = {f"m{i}": torch.tensor(float(i)) for i in range(10)}
    rows, done = fastlog.Rows(reader(), msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode), []

    def change() -> None:
        for turn in range(20_000):
            row[f"m{turn % 10}"] = torch.tensor(float(turn)) if turn % 3 else float(turn)
        done.append(True)

    thread = threading.Thread(target=change)
    thread.start()
    while not done:
        assert set(msgspec.msgpack.decode(rows(row))) == set(row)
    thread.join()


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
