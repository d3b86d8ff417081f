import matplotlib
import numpy as np
import torch
import wandb
from PIL import Image as Picture
from wandb.data_types import BoundingBoxes2D, ImageMask

matplotlib.use("Agg")
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
run = wandb.init(project="media", id="media1")
run.log({"rgb": wandb.Image(pixels, caption="numbers"), "loss": 0.5})
run.log({"grey": wandb.Image(pixels[:, :, 0]), "float": wandb.Image(pixels.astype("float64"))})
run.log({"alpha": wandb.Image(rng.integers(0, 256, (8, 8, 4))), "one": wandb.Image(pixels[None, :, :, :1])})
run.log({"strided": wandb.Image(pixels[::2, ::-1]), "fortran": wandb.Image(np.asfortranarray(pixels))})
run.log({"jpg": wandb.Image(pixels, file_type="jpg"), "bmp": wandb.Image(pixels, file_type="bmp")})
run.log({"mode": wandb.Image(pixels, mode="L"), "group": wandb.Image(pixels, grouping=3)})
chw = torch.from_numpy(pixels).permute(2, 0, 1)
run.log({"torch": wandb.Image(chw), "floats": wandb.Image((chw / 2).requires_grad_()), "flat": wandb.Image(chw[:1])})
run.log({"batch": [wandb.Image(image) for image in torch.stack([chw, chw.flip(0)])]})
run.log(
    {"list": [wandb.Image(pixels, caption=f"no {i}") for i in range(3)], "many": [wandb.Image(pixels[:2, :2])] * 120}
)
picture = Picture.fromarray(pixels)
run.log(
    {
        "pil": wandb.Image(picture),
        "palette": wandb.Image(picture.quantize(7)),
        "bits": wandb.Image(picture.convert("1")),
    }
)
run.log({"cmyk": wandb.Image(picture.convert("CMYK"), file_type="jpg"), "la": wandb.Image(picture.convert("LA"))})
picture.save("file.png")
picture.save("file.jpeg")
run.log({"path": wandb.Image("file.png", caption="from a file"), "jpeg": wandb.Image("file.jpeg")})
run.log(
    {"nested": {"deep": {"image": wandb.Image(pixels), "n": 1}, "list": [wandb.Image(pixels), wandb.Image(picture)]}}
)
figure, axes = plt.subplots()
axes.plot([1, 2, 3], [3, 1, 2])
run.log({"figure": wandb.Image(figure), "pyplot": wandb.Image(plt), "axes": wandb.Image(axes, file_type="jpg")})
axes.imshow(pixels)
run.log({"shows an image": figure})
plt.close(figure)
labels = {0: "road", 1: "car"}
mask = (pixels[:, :, 0] > 100).astype(np.uint8)
masks = {
    "truth": {"mask_data": mask, "class_labels": labels},
    "guess": ImageMask({"mask_data": mask.astype("int64")}, "guess"),
    "torch": {"mask_data": torch.from_numpy(mask)},
}
box = {"position": {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}, "class_id": 1, "scores": {"acc": 0.5}}
pixel_box = {
    "position": {"middle": torch.tensor([5, 6]), "width": 3, "height": 4},
    "domain": "pixel",
    "class_id": 0,
    "box_caption": "here",
}
boxes = {
    "truth": {"box_data": [box, pixel_box], "class_labels": labels},
    "own": BoundingBoxes2D({"box_data": [box]}, "own"),
}
run.log(
    {
        "masks": wandb.Image(pixels, masks=masks),
        "boxes": wandb.Image(pixels, boxes=boxes, classes=[{"id": 2, "name": "x"}]),
    }
)
run.log({"both": [wandb.Image(pixels, masks=masks, boxes=boxes), wandb.Image(pixels)]})
run.log({"explicit": wandb.Image(pixels)}, step=30)
run.log({"open": wandb.Image(pixels)}, commit=False)
run.log({"a/b": wandb.Image(pixels), "..": wandb.Image(pixels)})
run.log({"later": wandb.Image(pixels)}, step=40, commit=True)
run.log({"again": wandb.Image(wandb.Image(pixels, caption="first"), caption="second")})
run.summary["best"] = wandb.Image(pixels)
run.finish()
