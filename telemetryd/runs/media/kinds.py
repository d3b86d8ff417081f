"""The allow-list: what may be constructed, by the kind's name on the wire."""

from __future__ import annotations

from telemetryd.runs.media import charts, images, parts, plots, shapes, sounds, tables
from telemetryd.runs.media.builder import Build

KINDS: dict[str, Build] = {
    "Audio": sounds.audio,
    "BoundingBoxes2D": images.bounding_boxes,
    "Classes": images.classes,
    "CustomChart": charts.custom_chart,
    "Graph": plots.graph,
    "Histogram": plots.histogram,
    "Html": plots.html,
    "Image": images.image,
    "ImageMask": images.image_mask,
    "JoinedTable": tables.joined_table,
    "Molecule": shapes.molecule,
    "Molecule.from_rdkit": shapes.from_rdkit,
    "Molecule.from_smiles": shapes.from_smiles,
    "Object3D": shapes.object_3d,
    "Object3D.from_point_cloud": shapes.point_cloud,
    "Plotly": plots.plotly,
    "Table": tables.table,
    "Video": sounds.video,
    "Visualize": charts.visualize,
    "array": parts.array,
    "column link": tables.column_link,
    "date": tables.day,
    "datetime": tables.moment,
    "datetime64": tables.numpy_moment,
    "decimal": tables.decimal_number,
    "encoded": parts.encoded,
    "enum": tables.enum_member,
    "file": parts.file,
    "picture": parts.picture,
    "pr_curve": charts.pr_curve,
    "roc_curve": charts.roc_curve,
    "rdkit": shapes.rdkit,
    "scene": shapes.scene,
    "stream": sounds.stream,
    "text": parts.text,
}
