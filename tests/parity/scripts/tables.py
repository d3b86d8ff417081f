# needs: numpy, PIL
import datetime
import decimal
import sys

import numpy as np
import wandb

run = wandb.init(project="tables", id="parity")
rows = [[i, i / 3, f"row {i}", i % 2 == 0, None if i % 3 else "x"] for i in range(20)]
table = wandb.Table(columns=["number", "third", "text", "even", "sometimes"], data=rows)
rows[0][0] = 99
run.log({"table": table, "loss": 1.0})
table.add_data(1, float("nan"), "added after the log", True, None)
run.log({"table": table})
run.log(
    {
        "empty": wandb.Table(columns=[]),
        "default": wandb.Table(),
        "int names": wandb.Table(columns=[1, 2], data=[[1, 2]]),
    }
)
run.log({"array": wandb.Table(columns=["a", "b"], data=np.array([[1.5, 2], [np.nan, 3]], dtype=np.float32))})
run.log({"two": table, "same": table}, step=20)
run.log({"tables/in a folder": wandb.Table(columns=["a"], data=[[10**25], [float("inf")], [-1]])}, step=30, commit=True)

cells = wandb.Table(columns=["when", "array", "numpy", "list", "dict", "decimal"], allow_mixed_types=True)
utc = datetime.timezone.utc
buffer = np.arange(6.0).reshape(2, 3)
cells.add_data(
    datetime.datetime(2020, 1, 1, 3, 4, 5, 600), buffer, np.float32(0.1), [1, 2], {"a": 1}, decimal.Decimal("1.5")
)
cells.add_data(datetime.datetime(2020, 1, 1, tzinfo=utc), None, np.int64(3), [], {"a": None}, None)
cells.add_data(datetime.date(2020, 1, 1), None, np.bool_(True), (1, 2), {1: 2}, print)
cells.add_data(np.datetime64("2020-01-01"), None, np.str_("text"), {1}, {"b": [np.float32(1)]}, b"bytes")
cells.add_data(np.datetime64("2020-01-01T00:00:00.000000001"), None, None, None, None, None)
run.log({"cells": cells})
buffer[:] = 7

arrays = wandb.Table(columns=["matrix", "embedding", "long"])
matrix = np.arange(4.0).reshape(2, 2)
arrays.add_data(matrix, np.ones(5), np.arange(200))
arrays.add_data(matrix + 1, np.zeros(5), np.arange(200))
run.log({"arrays": arrays})
matrix[:] = 9

pixels = np.zeros((4, 4, 3), dtype=np.uint8)
media = wandb.Table(columns=["image", "n"])
for number in range(3):
    pixels[:] = number * 40
    media.add_data(wandb.Image(pixels, caption=f"no {number}"), number)
media.add_data(None, 3)
run.log({"media": media, "nested": {"deep": wandb.Table(columns=["q"], data=[[1]])}})
run.log({"of tables": wandb.Table(columns=["inner"], data=[[wandb.Table(columns=["z"], data=[[1], [2]])]])})

grown = wandb.Table(columns=["x"], data=[[1], [2]])
grown.add_column("y", [0.5, 1.5])
grown.add_column("z", np.array([3, 4]), optional=True)
grown.add_computed_columns(lambda index, row: {"sum": row["x"] + row["y"], "index": int(index)})
grown.cast("x", int, optional=True)
print(grown.columns, grown.get_column("sum"), grown.get_column("z", convert_to="numpy"))
run.summary["final"] = wandb.Table(columns=["x"], data=[[1]])
try:
    run.log({"grown": grown})  # the computed column refers to the table that it is in
except (RecursionError, ValueError):
    sys.exit(1)
