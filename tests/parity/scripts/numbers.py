import datetime
import decimal
import enum
import fractions
import pathlib

import numpy as np
import wandb


class Colour(enum.Enum):
    RED = 1


run = wandb.init(
    project="p", id="parity", config={"np": np.float32(0.5), "path": pathlib.Path("a/b"), "ints": np.arange(3)}
)
for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?"):
    run.log({f"np_{kind}": np.dtype(kind).type(1)})
run.log({"zero_d": np.array(1.5), "one": np.array([2.5]), "empty": np.array([]), "complex": str(1j)})
run.log({"decimal": str(decimal.Decimal("1.10")), "fraction": float(fractions.Fraction(1, 3))})
run.log({"date": str(datetime.date(2024, 1, 2)), "enum": Colour.RED.name, "max": 2**53, "more": 2**53 + 1})
run.log({"exp": 1e300, "small": 1e-300, "third": 1 / 3, "negative_zero": -0.0})
run.finish()
