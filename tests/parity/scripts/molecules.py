# needs: rdkit
"""Structures that rdkit computes: in the process on wandb, beside the daemon here."""

import pathlib

import wandb
from rdkit import Chem

run = wandb.init(project="p", id="parity")
caffeine = "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
run.log(
    {
        "flat": wandb.Molecule.from_smiles(caffeine, caption="caffeine", convert_to_3d_and_optimize=False),
        "folded": wandb.Molecule.from_smiles("CCO"),
        "unchecked": wandb.Molecule.from_smiles("c1ccccc1", sanitize=False, convert_to_3d_and_optimize=False),
    }
)
molecule = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
molecule.SetProp("_Name", "aspirin")
molecule.GetAtomWithIdx(0).SetProp("name", "first")
run.log(
    {
        "molecule": wandb.Molecule.from_rdkit(molecule, caption="aspirin"),
        "few steps": wandb.Molecule.from_rdkit(molecule, mmff_optimize_molecule_max_iterations=2),
        "several": [
            wandb.Molecule.from_smiles(smiles, convert_to_3d_and_optimize=False) for smiles in ("C", "CC", "CCC")
        ],
    }
)
molecule.SetProp("_Name", "changed after log")
for name in ("water.mol", "water.sdf"):
    pathlib.Path(name).write_text(Chem.MolToMolBlock(Chem.MolFromSmiles("O")) + "$$$$\n")
    run.log({name: wandb.Molecule.from_rdkit(name, convert_to_3d_and_optimize=False)})
    pathlib.Path(name).unlink()
for wrong in ("water.xyz", 1):
    try:
        wandb.Molecule.from_rdkit(wrong)
    except (TypeError, ValueError) as error:
        print(type(error).__name__)
run.finish()
