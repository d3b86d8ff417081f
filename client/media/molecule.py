"""`Molecule`: structures from files, from SMILES, from rdkit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from client.media import files
from client.media.base import BatchableMedia, Part
from client.payload import Payload


class Molecule(BatchableMedia):
    """A structure, from a file or from an object with `read` and `file_type=`.

    Files are read here. What rdkit computes (`from_smiles`, `from_rdkit`) is computed beside the daemon.

    Raises ValueError for other file types and for anything else, OSError for a file that cannot be read.
    """

    SUPPORTED_TYPES = {"pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf"}
    SUPPORTED_RDKIT_TYPES = {"mol", "sdf"}
    _log_type = "molecule-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: str) -> None:
        self._kind = "Molecule"
        self._args: dict[str, Any] = {"caption": caption}
        if hasattr(data_or_path, "name"):
            data_or_path = data_or_path.name
        if hasattr(data_or_path, "read"):
            if hasattr(data_or_path, "seek"):
                data_or_path.seek(0)
            text = data_or_path.read()
            file_type = kwargs.get("file_type")
            if file_type is None:
                raise ValueError("Must pass file_type keyword argument when using io objects.")
            if file_type not in self.SUPPORTED_TYPES:
                raise ValueError(
                    f"Molecule 3D only supports files of the type: {', '.join(sorted(self.SUPPORTED_TYPES))}"
                )
            self._args["data_or_path"] = Part("text", data=Payload.of(text.encode("utf-8")), io=True)
            self._args["file_type"] = file_type
        elif isinstance(data_or_path, (str, Path)):
            if Path(data_or_path).suffix[1:] not in self.SUPPORTED_TYPES:
                raise ValueError(f"Molecule only supports files of the type: {', '.join(sorted(self.SUPPORTED_TYPES))}")
            self._args["data_or_path"] = files.capture(data_or_path)
        else:
            raise ValueError("Data must be file name or a file object")

    @classmethod
    def from_smiles(
        cls,
        data: str,
        caption: str | None = None,
        sanitize: bool = True,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """From a SMILES string, which the daemon parses: one that cannot be parsed is lost there, and counted."""
        return cls._computed(
            "Molecule.from_smiles",
            data=data,
            caption=caption,
            sanitize=sanitize,
            convert_to_3d_and_optimize=convert_to_3d_and_optimize,
            mmff_optimize_molecule_max_iterations=mmff_optimize_molecule_max_iterations,
        )

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: str | None = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """From a .mol or .sdf file, or a molecule of rdkit's. Raises ValueError, TypeError for anything else."""
        source: Any
        if isinstance(data_or_path, str):
            if Path(data_or_path).suffix.split(".")[-1] not in cls.SUPPORTED_RDKIT_TYPES:
                supported = ", ".join(sorted(cls.SUPPORTED_RDKIT_TYPES))
                raise ValueError(f"Molecule.from_rdkit only supports files of the type: {supported}")
            source = files.capture(data_or_path)
        else:
            chem = sys.modules.get("rdkit.Chem")
            if chem is None or not isinstance(data_or_path, chem.rdchem.Mol):
                raise TypeError("Data must be file name or an rdkit.Chem.rdchem.Mol object")
            properties = chem.PropertyPickleOptions.AllProps  # the name stands in the file
            source = Part("rdkit", data=Payload.of(data_or_path.ToBinary(properties)))
        return cls._computed(
            "Molecule.from_rdkit",
            data_or_path=source,
            caption=caption,
            convert_to_3d_and_optimize=convert_to_3d_and_optimize,
            mmff_optimize_molecule_max_iterations=mmff_optimize_molecule_max_iterations,
        )

    @classmethod
    def _computed(cls, kind: str, **args: Any) -> Molecule:
        made = cls.__new__(cls)
        made._kind, made._args = kind, args
        return made

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return self._kind, self._args
