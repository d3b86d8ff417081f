"""numpy arrays, torch tensors and their like, recognised where the caller has imported them already.

The one door to these libraries: nothing else of the client touches their objects, and none of them is imported here.
Small arrays (up to 32 elements, as in wandb) are captured as lists; larger ones as dtype, shape and raw bytes, from
which the daemon lets wandb make its histogram.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from client import fastlog
from client.errors import UnsupportedError
from client.limits import LARGE_RECORD_BYTES
from client.protocol.records import EXT_ARRAY, Array

log = logging.getLogger("telemetryd.client")

LIST_MAX_ELEMENTS = 32
"""wandb stores arrays up to this size as lists, and larger ones as histograms."""

_TORCH_DTYPES = {
    "torch.float64": "<f8",
    "torch.float32": "<f4",
    "torch.float16": "<f2",
    "torch.int64": "<i8",
    "torch.int32": "<i4",
    "torch.int16": "<i2",
    "torch.int8": "|i1",
    "torch.uint8": "|u1",
    "torch.bool": "|b1",
}
_DTYPES_BY_FORMAT = {
    code: f"{'|' if struct.calcsize(code) == 1 else '<'}{kind}{struct.calcsize(code)}"
    for kind, codes in (("i", "bhilq"), ("u", "BHILQ"), ("f", "fd"), ("b", "?"))
    for code in codes
}
"""By the names of the buffer protocol, as far as memoryview.cast knows them."""
_pack = msgspec.msgpack.Encoder().encode
_told = False
_ndarray: type | None = None
"""numpy's, once one was seen: a look into sys.modules costs more than all else that `is_numpy` does."""


def _is_a(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def is_dataframe(value: Any) -> bool:
    """Whether it is a pandas.DataFrame."""
    return _is_a(value, "pandas", "DataFrame")


def is_fraction(value: Any) -> bool:
    """Whether it is a fractions.Fraction."""
    return _is_a(value, "fractions", "Fraction")


def is_numpy_scalar(value: Any) -> bool:
    """Whether it is a numpy scalar (numpy.float32(1))."""
    return _is_a(value, "numpy", "generic")


def is_numpy(value: Any) -> bool:
    """Whether it is a numpy array: asked first where most are, because what is asked next costs as much as a copy."""
    global _ndarray
    if type(value) is _ndarray:
        return True
    if not _is_a(value, "numpy", "ndarray"):
        return False
    _ndarray = sys.modules["numpy"].ndarray
    return True


def is_torch(value: Any) -> bool:
    """Whether it is a torch tensor or a subclass of one."""
    return _is_a(value, "torch", "Tensor")


def is_readable_as(kind: type) -> bool:
    """Whether tensors of exactly this class, torch.Tensor, can be read through DLPack's table for C; see _scalars.c."""
    return kind is getattr(sys.modules.get("torch"), "Tensor", None) and hasattr(kind, "__dlpack_c_exchange_api__")


def _is_foreign(value: Any) -> bool:
    """A jax array or a tensorflow tensor: told by its type's name, converted through numpy."""
    name = f"{type(value).__module__}.{type(value).__name__}"
    return name.startswith(("jaxlib.", "tensorflow.")) and ("Array" in name or "Tensor" in name)


def is_array(value: Any) -> bool:
    """Whether it is an array or tensor of one of the libraries."""
    return is_numpy(value) or is_torch(value) or _is_foreign(value)


def scalar(value: Any) -> Any:
    """The Python value of a numpy scalar; a long double becomes a float, bytes become str as in wandb."""
    plain = value.item()
    if type(plain) is type(value):  # long double has no Python type
        return float(plain)
    return plain.decode("utf-8") if isinstance(plain, bytes) and _is_a(value, "numpy", "bytes_") else plain


def scalar_type(value: Any) -> type | None:
    """What makes the same Python value of all numpy scalars of this one's type as `scalar` does, in a tenth of the time
    of their `item`; None where only `scalar` can."""
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind == "f" and size <= 8:
        return float
    return {"i": int, "u": int, "b": bool}.get(kind)


def history_form(value: Any) -> Any:
    """What a `log` call keeps of an array: a scalar of one element, a list up to 32, else the array itself (ext 2)."""
    if is_torch(value):
        value = _host_tensor(value)
        if value.numel() == 1:
            return value.item()
        return value.tolist() if value.numel() <= LIST_MAX_ELEMENTS else _packed_tensor(value)
    if _is_foreign(value):
        value = _numpy_of(value)
    if value.size == 1:
        return scalar(value.reshape(-1)[0]) if value.dtype.kind != "O" else value.reshape(-1)[0]
    return value.tolist() if value.size <= LIST_MAX_ELEMENTS else _packed_array(value)


def config_form(value: Any) -> Any:
    """What `run.config` keeps of an array: a list up to 32 elements, else its str; of a 0-d tensor its value."""
    if is_torch(value):
        value = _host_tensor(value)
        if value.dim() == 0:
            return value.item()
        if value.numel() > LIST_MAX_ELEMENTS:
            return str(value.numpy()) if "numpy" in sys.modules else str(value)
        return str(value.item()) if value.numel() == 1 else value.tolist()
    if _is_foreign(value):
        value = _numpy_of(value)
    if value.size == 1:
        return str(value.reshape(-1)[0])
    return value.tolist() if value.size <= LIST_MAX_ELEMENTS else str(value)


def _numpy_of(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise UnsupportedError(f"logging a {type(value).__name__} needs numpy: import it, or log float(value)")
    return numpy.asarray(value)


def _host_tensor(value: Any) -> Any:
    """The tensor in the host's memory, dense, of a type that has a numpy name where there is one."""
    value = value.detach()
    if value.device.type != "cpu":
        value = from_device(value)
    if str(value.layout) != "torch.strided":
        value = value.to_dense()
    if str(value.dtype) not in _TORCH_DTYPES and value.dtype.is_floating_point:
        value = value.float()  # bfloat16 and the 8-bit floats
    return value


def _copy_and_say(value: Any) -> Any:
    """Copy a tensor to the host and wait for it, and say once that logging waits here."""
    global _told
    if not _told:
        _told = True
        log.warning(
            "a tensor on %s is logged: this waits until the device has computed it; log tensor.detach().cpu() at a"
            " point where that is no loss, or log less often",
            value.device,
        )
    return value.cpu()


from_device: Callable[[Any], Any] = _copy_and_say
"""The seam for devices: takes a detached tensor on a device, returns it in host memory. It may be replaced by a
mechanism that copies without making the caller wait."""


def _packed_tensor(value: Any) -> msgspec.msgpack.Ext:
    name = _TORCH_DTYPES.get(str(value.dtype))
    if name is None:
        raise TypeError(f"a tensor of {value.dtype} has no histogram: log its real numbers, or at most 32 of them")
    value = value.contiguous()
    raw = ctypes.string_at(value.data_ptr(), value.numel() * value.element_size())
    return msgspec.msgpack.Ext(EXT_ARRAY, _pack([name, list(value.shape), raw]))


def _packed_array(value: Any) -> msgspec.msgpack.Ext:
    if value.dtype.kind not in "biuf":
        raise TypeError(f"an array of {value.dtype} has no histogram: log its real numbers, or at most 32 of them")
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:
        value = value.astype("<f8")
    if value.dtype.byteorder == ">" or (value.dtype.byteorder == "=" and sys.byteorder == "big"):
        value = value.astype(value.dtype.newbyteorder("<"))
    return msgspec.msgpack.Ext(EXT_ARRAY, _pack([value.dtype.str, list(value.shape), value.tobytes()]))


def loaded_numpy() -> Any:
    """numpy, where the caller has imported it; None elsewhere."""
    return sys.modules.get("numpy")


def is_large(value: Any) -> bool:
    """Whether it has so many bytes, of numbers that `contents` takes, that it does not belong into a row."""
    if is_torch(value):
        return value.numel() * value.element_size() > LARGE_RECORD_BYTES and not value.is_complex()
    if not is_numpy(value):
        return False  # of another library: converted first
    return value.nbytes > LARGE_RECORD_BYTES and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8


def is_bytes(value: Any) -> bool:
    """Whether its elements can be none but 0 to 255."""
    return str(value.dtype) in ("uint8", "bool", "torch.uint8", "torch.bool")


def contents(value: Any) -> tuple[str, list[int], int, Callable[[memoryview], None]]:
    """(dtype, shape, bytes, what writes the bytes into a buffer of that size) of an array or tensor.

    Raises TypeError where its elements are no real numbers. Nothing is copied before the buffer is written.
    """
    if is_numpy(value):
        if (plain := _plain_contents(value)) is not None:
            return plain
    elif is_torch(value):
        value = _host_tensor(value)
        if str(value.dtype) not in _TORCH_DTYPES:
            raise TypeError(f"a tensor of {value.dtype} cannot be part of a media value: give real numbers")
        if "numpy" not in sys.modules:
            return _tensor_contents(value)
        value = value.numpy()  # shares its memory
    elif _is_foreign(value):
        value = _numpy_of(value)
    dtype = value.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise TypeError(f"an array of {dtype} cannot be part of a media value: give numbers of at most 64 bits")
    return dtype.str, list(value.shape), value.nbytes, lambda view: _copy_array(value, view)


def _plain_contents(array: Any) -> tuple[str, list[int], int, Callable[[memoryview], None]] | None:
    """`contents` of a numpy array that lies in one piece and is of the machine's own numbers: one question instead of
    one for each of its properties. None for others."""
    try:
        view = memoryview(array)
    except (TypeError, ValueError, BufferError):  # numbers that the buffer protocol has no name for
        return None
    dtype = _DTYPES_BY_FORMAT.get(view.format)
    if dtype is None or not view.c_contiguous or not view.nbytes:
        return None
    return dtype, list(view.shape or ()), view.nbytes, lambda target: fastlog.copy(target, view)


def _tensor_contents(value: Any) -> tuple[str, list[int], int, Callable[[memoryview], None]]:
    dense = value.contiguous()
    size = dense.numel() * dense.element_size()

    def fill(view: memoryview) -> None:
        ctypes.memmove(ctypes.addressof(ctypes.c_char.from_buffer(view)), dense.data_ptr(), size)

    return _TORCH_DTYPES[str(dense.dtype)], list(dense.shape), size, fill


def _copy_array(value: Any, view: memoryview) -> None:
    if value.flags.c_contiguous:
        fastlog.copy(view, value.reshape(-1).view("u1"))
    else:
        numpy = sys.modules["numpy"]
        numpy.copyto(numpy.frombuffer(view, value.dtype).reshape(value.shape), value)


def histogram(array: Array) -> dict[str, Any] | None:
    """The histogram that W&B shows for a logged array; None where numpy is gone or the array has no finite range."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    values = numpy.frombuffer(array.raw, dtype=array.dtype)
    if not numpy.isfinite(values).all():
        return None
    counts, bins = numpy.histogram(values.astype("<f8") if array.dtype == "|b1" else values, bins=32)
    return {"_type": "histogram", "values": counts.tolist(), "bins": bins.tolist()}


def statistics(array: Array) -> dict[str, Any] | None:
    """What W&B shows for a large array set in the summary; None where numpy is gone."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    values = numpy.frombuffer(array.raw, dtype=array.dtype).astype("<f8")
    percentiles = {f"{share}%": numpy.percentile(values, share).item() for share in (10, 25, 75, 90)}
    extremes = {"min": values.min().item(), "max": values.max().item()}
    moments = {"var": values.var().item(), "mean": values.mean().item()}
    return {"_type": "numpy.ndarray", **moments, **extremes, **percentiles, "size": values.size}
