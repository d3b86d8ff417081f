"""Point clouds, scenes, models, molecules."""

from __future__ import annotations

from typing import Any

from telemetryd.runs.media import sources
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.door import data_types


def object_3d(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Object3D."""
    return data_types().Object3D(**sources.arguments(args, builder))


def point_cloud(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Object3D.from_point_cloud."""
    return data_types().Object3D.from_point_cloud(**builder.arguments(args))


def scene(args: dict[str, Any], builder: MediaBuilder) -> dict[str, Any]:
    """A scene as wandb.Object3D takes it: a dict of arrays."""
    import numpy as np

    values = builder.arguments(args)
    return {name: value if name == "type" else np.array(value) for name, value in values.items()}


def molecule(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Molecule."""
    return data_types().Molecule(**sources.arguments(args, builder))


def from_smiles(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Molecule.from_smiles."""
    return data_types().Molecule.from_smiles(**builder.arguments(args))


def from_rdkit(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """wandb.Molecule.from_rdkit."""
    return data_types().Molecule.from_rdkit(**sources.arguments(args, builder))


def rdkit(args: dict[str, Any], builder: MediaBuilder) -> Any:
    """A molecule of rdkit's. Raises ImportError without it."""
    from rdkit import Chem

    return Chem.Mol(bytes(builder.build(args["data"])))
