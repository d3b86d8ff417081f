# needs: numpy, PIL, torch, soundfile, moviepy
"""Buffers are overwritten and files deleted on the line after `log`: what is kept is what was logged."""

import pathlib
import shutil

import numpy as np
import torch
import wandb
from PIL import Image

run = wandb.init(project="p", id="parity")
pixels = np.zeros((8, 8, 3), dtype=np.uint8)
large = np.zeros((64, 64, 3), dtype=np.uint8)
mask = np.zeros((8, 8), dtype=np.uint8)
tensor = torch.zeros(3, 8, 8)
picture = Image.new("RGB", (6, 4))
values = np.arange(50, dtype=np.float64)
counts, edges = np.zeros(3, dtype=np.int64), np.arange(4, dtype=np.float64)
wave = np.zeros(4000, dtype=np.float32)
frames = np.zeros((3, 3, 16, 16), dtype=np.uint8)
points = np.zeros((20, 3))
rows = [[1, "a"], [2, "b"]]
box = {"position": {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}, "class_id": 1}
nested = {"a": {"b": [0, 1]}, "small": np.zeros(3)}
buffers = (pixels, large, mask, values, counts, wave, frames, points, nested["small"])
for i in range(2):
    for number, buffer in enumerate(buffers):
        buffer[:] = np.arange(buffer.size).reshape(buffer.shape) % (7 + i + number)
    tensor.fill_(i / 4)
    picture.paste((40 * i, 10, 10), (0, 0, 6, 4))
    table = wandb.Table(columns=["n", "s"], data=rows)
    pictures = wandb.Table(columns=["n", "picture", "array"], data=[[i, wandb.Image(pixels), values]])
    run.log(
        {
            "image": wandb.Image(
                pixels,
                caption=f"step {i}",
                masks={"truth": {"mask_data": mask, "class_labels": {0: "x", 1: "y"}}},
                boxes={"truth": {"box_data": [box], "class_labels": {1: "y"}}},
            ),
            "images": [wandb.Image(large), wandb.Image(large[::-1, ::-1])],
            "tensor": wandb.Image(tensor),
            "picture": wandb.Image(picture),
            "histogram": wandb.Histogram(values),
            "counted": wandb.Histogram(np_histogram=(counts, edges)),
            "sound": wandb.Audio(wave, sample_rate=8000),
            "film": wandb.Video(frames, fps=2, format="gif"),
            "points": wandb.Object3D(points),
            "table": table,
            "pictures": pictures,
            "bare": values,
            "bare tensor": tensor,
            "nested": nested,
        }
    )
    for buffer in buffers:
        buffer[:] = 0
    tensor.fill_(-1)
    picture.paste((255, 255, 255), (0, 0, 6, 4))
    rows[0][0] += 10
    nested["a"]["b"][0] += 10
    box["position"]["minX"] = 0.0

made = pathlib.Path("made")
made.mkdir()
Image.new("RGB", (4, 4), (7, 8, 9)).save(made / "picture.png")
(made / "page.html").write_text("<p>page</p>")
(made / "sound.wav").write_bytes(b"RIFF, not really")
(made / "film.gif").write_bytes(b"GIF89a, not really" * 1000)
(made / "shape.obj").write_text("v 0 0 0\n")
(made / "molecule.pdb").write_text("ATOM\n")
(made / "data.bin").write_bytes(bytes(range(256)) * 100)
artifact = wandb.Artifact("made", type="dataset")
artifact.add_dir("made")
run.log_artifact(artifact)
run.log(
    {
        "picture file": wandb.Image("made/picture.png"),
        "page": wandb.Html("made/page.html"),
        "sound file": wandb.Audio("made/sound.wav"),
        "film file": wandb.Video("made/film.gif"),
        "shape": wandb.Object3D("made/shape.obj"),
        "molecule": wandb.Molecule("made/molecule.pdb"),
    }
)
shutil.rmtree(made)
run.finish()
