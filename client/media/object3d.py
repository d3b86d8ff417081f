"""`Object3D` and `box3d`: point clouds, scenes of boxes, models from files."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from client import tensors
from client.media import arrays, files
from client.media.base import BatchableMedia, Part
from client.payload import Payload

_SHAPES = (
    "The shape of the numpy array must be one of either [[x y z], ...] nx3, [[x y z c], ...] nx4 where c is a category"
    " with supported range [1, 14], or [[x y z r g b], ...] nx6 where rgb is color"
)


class Object3D(BatchableMedia):
    """A point cloud (n by 3, 4 or 6 numbers), a scene {"type": "lidar/beta", "points", "boxes", "vectors"} of arrays, a
    file (obj, gltf, glb, babylon, stl, pts.json) or an object with `read` and `file_type=`.

    Arrays are copied and files read here. Raises ValueError for anything else, OSError for a file that cannot be read.
    """

    SUPPORTED_TYPES: ClassVar[set[str]] = {"obj", "gltf", "glb", "babylon", "stl", "pts.json"}
    SUPPORTED_POINT_CLOUD_TYPES: ClassVar[set[str]] = {"lidar/beta"}
    _log_type = "object3D-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: str | None) -> None:
        self._kind = "Object3D"
        self._args: dict[str, Any] = {"caption": caption}
        if hasattr(data_or_path, "name") and not isinstance(data_or_path, Path):
            data_or_path = data_or_path.name  # an open file: taken by its path, as in wandb
        if hasattr(data_or_path, "read"):
            self._from_stream(data_or_path, kwargs.get("file_type"))
        elif isinstance(data_or_path, (str, Path)):
            if not str(data_or_path).endswith(tuple(self.SUPPORTED_TYPES)):
                raise ValueError(
                    f"File '{data_or_path}' is not compatible with Object3D: supported types are:"
                    f" {', '.join(sorted(self.SUPPORTED_TYPES))}"
                )
            self._args["data_or_path"] = files.capture(data_or_path)
        elif isinstance(data_or_path, dict) and "type" in data_or_path:
            self._args["data_or_path"] = _scene(data_or_path)
        elif tensors.is_array(data_or_path) and not tensors.is_torch(data_or_path):
            _check_points(data_or_path)
            self._args["data_or_path"] = arrays.capture(data_or_path)
        else:
            raise ValueError("data must be a numpy array, dict or a file object")

    def _from_stream(self, stream: Any, file_type: str | None) -> None:
        if hasattr(stream, "seek"):
            stream.seek(0)
        text = stream.read()
        if file_type is None:
            raise ValueError("Must pass file type keyword argument when using io objects.")
        if file_type not in self.SUPPORTED_TYPES:
            raise ValueError(
                f"Object 3D only supports numpy arrays or files of the type: {', '.join(sorted(self.SUPPORTED_TYPES))}"
            )
        self._args["data_or_path"] = Part("text", data=Payload.of(text.encode("utf-8")), io=True)
        self._args["file_type"] = file_type

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """From a path, or a stream with its file type."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """From an n by 3, 4 or 6 array. Raises ValueError for anything else."""
        if not tensors.is_array(data) or tensors.is_torch(data):
            raise ValueError("`data` must be a numpy array")
        _check_points(data)
        return cls(data)

    @classmethod
    def from_point_cloud(
        cls,
        points: Sequence[Any],
        boxes: Sequence[Any],
        vectors: Sequence[Any] | None = None,
        point_cloud_type: str = "lidar/beta",
    ) -> Object3D:
        """From points, boxes (`box3d`) and vectors. Raises ValueError for another `point_cloud_type`."""
        if point_cloud_type not in cls.SUPPORTED_POINT_CLOUD_TYPES:
            raise ValueError("Point cloud type not supported")
        made = cls.__new__(cls)
        scene = {"points": points, "boxes": boxes, "vectors": vectors}
        captured = {name: _captured(values) for name, values in scene.items()}
        made._kind = "Object3D.from_point_cloud"
        made._args = {**captured, "point_cloud_type": point_cloud_type}
        return made

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return self._kind, self._args


def _scene(data: dict[str, Any]) -> Part:
    if data["type"] != "lidar/beta":
        raise ValueError("Type not supported, only 'lidar/beta' is currently supported")
    given = {name: data[name] for name in ("vectors", "points", "boxes") if name in data}
    for name, values in given.items():
        if not hasattr(values, "tolist"):
            kind = type(values).__name__
            raise AttributeError(f"'{kind}' object has no attribute 'tolist': give {name} as an array")
    return Part("scene", type=data["type"], **{name: _captured(values) for name, values in given.items()})


def _captured(values: Any) -> Any:
    """A copy of a sequence of points, boxes or vectors."""
    if tensors.is_array(values):
        return arrays.capture(values) if values.dtype.kind in "biuf" else _captured(values.tolist())
    if isinstance(values, dict):
        return {key: _captured(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_captured(value) for value in values]
    return values


def _check_points(data: Any) -> None:
    if len(data.shape) != 2 or data.shape[1] not in {3, 4, 6}:
        raise ValueError(_SHAPES)


def box3d(
    *,
    center: Any,
    size: Any,
    orientation: Any,
    color: tuple[Any, Any, Any],
    label: str | None = None,
    score: Any = None,
) -> dict[str, Any]:
    """A box for `Object3D.from_point_cloud`: center and size as (x, y, z), orientation as the quaternion (r, i, j, k).

    Raises AssertionError for other lengths, ValueError for a quaternion of zeros.
    """
    assert len(center) == 3
    assert len(size) == 3
    assert len(orientation) == 4
    units = itertools.product((-1, 1), (-1, 1), (-1, 1))
    numpy = tensors.loaded_numpy()
    if numpy is not None:  # wandb's own formula, to the last bit
        rotation = numpy.array(_rotation(numpy.asarray(orientation, dtype="<f8").tolist(), numpy.linalg.norm))
        sides = 0.5 * numpy.asarray(size, dtype="<f8") * numpy.array(list(units), dtype="<f8")
        corners = (numpy.asarray(center, dtype="<f8") + sides @ rotation).tolist()
    else:
        turn = _rotation([float(value) for value in orientation], math.hypot)
        halves = [[0.5 * float(size[axis]) * unit[axis] for axis in range(3)] for unit in units]
        corners = [
            [float(center[axis]) + sum(half[i] * turn[i][axis] for i in range(3)) for axis in range(3)]
            for half in halves
        ]
    return {"corners": tuple(tuple(corner) for corner in corners), "color": color, "label": label, "score": score}


def _rotation(quaternion: list[float], norm: Callable[..., Any]) -> list[list[float]]:
    """The matrix that turns row vectors by a quaternion, of which wandb takes the absolute values."""
    parts = [abs(value) for value in quaternion]
    largest = max(parts)
    if largest == 0:
        raise ValueError("Unexpected zero quaternion.")
    parts = [value / largest for value in parts]
    length = norm(*parts) if norm is math.hypot else float(norm(parts))
    r, i, j, k = (value / length for value in parts)
    ii, jj, kk = i**2, j**2, k**2
    ij, ik, jk = i * j, i * k, j * k
    ir, jr, kr = i * r, j * r, k * r
    return [
        [1 - 2 * (jj + kk), 2 * (ij + kr), 2 * (ik - jr)],
        [2 * (ij - kr), 1 - 2 * (ii + kk), 2 * (jk + ir)],
        [2 * (ik + jr), 2 * (jk - ir), 1 - 2 * (ii + jj)],
    ]
