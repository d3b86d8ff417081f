"""The allow-list: what may be constructed, by the kind's name on the wire."""

from __future__ import annotations

from telemetryd.runs.media import images, parts, plots, shapes, sounds
from telemetryd.runs.media.builder import Build

KINDS: dict[str, Build] = {
    "Audio": sounds.audio,
    "BoundingBoxes2D": images.bounding_boxes,
    "Classes": images.classes,
    "Graph": plots.graph,
    "Histogram": plots.histogram,
    "Html": plots.html,
    "Image": images.image,
    "ImageMask": images.image_mask,
    "Molecule": shapes.molecule,
    "Molecule.from_rdkit": shapes.from_rdkit,
    "Molecule.from_smiles": shapes.from_smiles,
    "Object3D": shapes.object_3d,
    "Object3D.from_point_cloud": shapes.point_cloud,
    "Plotly": plots.plotly,
    "Video": sounds.video,
    "array": parts.array,
    "encoded": parts.encoded,
    "file": parts.file,
    "picture": parts.picture,
    "rdkit": shapes.rdkit,
    "scene": shapes.scene,
    "stream": sounds.stream,
    "text": parts.text,
}
