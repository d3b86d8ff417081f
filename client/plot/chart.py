"""A chart: a table and how W&B draws it. Logging it stores the table under `<key>_table` and the drawing in the config.

No dataclasses, though wandb's are: the encoder takes dataclasses for maps.
"""

from __future__ import annotations

from typing import Any

from client.errors import Error
from client.media.base import WBValue
from client.tables import Table


class CustomChartSpec:
    """Which Vega specification draws the chart, with which columns (`fields`) and texts (`string_fields`)."""

    def __init__(
        self,
        spec_name: str,
        fields: dict[str, Any],
        string_fields: dict[str, Any],
        key: str = "",
        panel_type: str = "Vega2",
        split_table: bool = False,
    ) -> None:
        self.spec_name = spec_name
        self.fields = fields
        self.string_fields = string_fields
        self.key = key
        self.panel_type = panel_type
        self.split_table = split_table

    @property
    def table_key(self) -> str:
        """The key under which the table is logged. Raises Error while the chart has none."""
        if not self.key:
            raise Error("Key for the custom chart spec is not set.")
        return f"Custom Chart Tables/{self.key}_table" if self.split_table else f"{self.key}_table"


class CustomChart(WBValue):
    """A chart to log."""

    def __init__(self, table: Table, spec: CustomChartSpec) -> None:
        self.table = table
        self.spec = spec

    def set_key(self, key: str) -> None:
        """Set the key of the spec; logging does so itself."""
        self.spec.key = key

    def _wire(self) -> tuple[str, dict[str, Any]]:
        spec = self.spec
        return "CustomChart", {
            "table": self.table,
            "spec_name": spec.spec_name,
            "fields": spec.fields,
            "string_fields": spec.string_fields,
            "panel_type": spec.panel_type,
            "split_table": spec.split_table,
        }


class VisualizeSpec:
    """Which of the project's own panels shows the table."""

    def __init__(self, name: str, key: str = "") -> None:
        self.name = name
        self.key = key


class Visualize(WBValue):
    """A table with a panel of the project's own, to log."""

    def __init__(self, table: Table, spec: VisualizeSpec) -> None:
        self.table = table
        self.spec = spec

    def set_key(self, key: str) -> None:
        """Set the key of the spec; logging does so itself."""
        self.spec.key = key

    def _wire(self) -> tuple[str, dict[str, Any]]:
        return "Visualize", {"table": self.table, "name": self.spec.name}


def visualize(id: str, value: Table) -> Visualize:
    """A table shown by the project's panel `id`. Raises Error for what is no Table."""
    if not isinstance(value, Table):
        raise Error(f"Expected `value` to be `wandb.Table` type, instead got {type(value).__name__}")
    return Visualize(value, VisualizeSpec(id))


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: dict[str, Any],
    string_fields: dict[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart by the name of a Vega specification that W&B knows. `fields` says which column is what, `string_fields`
    holds texts. With `split_table` the table is shown in a section of its own. Raises Error for what is no Table."""
    if not isinstance(data_table, Table):
        raise Error(f"Expected `data_table` to be `wandb.Table` type, instead got {type(data_table).__name__}")
    return CustomChart(
        data_table, CustomChartSpec(vega_spec_name, fields, string_fields or {}, split_table=split_table)
    )
