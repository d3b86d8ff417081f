# needs: numpy, PIL, soundfile
import numpy as np
import wandb

run = wandb.init(project="tables", id="parity")
pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
labels = {0: "road", 1: "car"}
box = {"position": {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}, "class_id": 1, "scores": {"sure": 0.5}}
table = wandb.Table(columns=["image", "sound", "page", "list"])
for number in range(3):
    mask = np.full((4, 4), number % 2, dtype=np.uint8)
    image = wandb.Image(
        pixels + number,
        masks={"truth": {"mask_data": mask, "class_labels": labels}},
        boxes={"truth": {"box_data": [box], "class_labels": labels}},
        classes=wandb.Classes([{"id": number, "name": f"class {number}"}]),
    )
    sound = wandb.Audio(np.sin(np.arange(100.0) * number), sample_rate=8000, caption="a sound")
    table.add_data(image, sound, wandb.Html(f"<b>{number}</b>"), [wandb.Image(pixels)])
    pixels[:] = 0
run.log({"table": table})
try:
    run.log({"object": wandb.Table(columns=["cell"], data=[[object()]])})
except TypeError:
    print("TypeError")
try:
    table.add_data("no image", None, None, None)
except TypeError:
    print("TypeError", len(table.data))
run.finish()
