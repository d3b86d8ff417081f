# needs: numpy, PIL, torch
import numpy as np
import torch
import wandb
from PIL import Image

run = wandb.init(project="p", id="parity")
small, large = np.zeros((4, 6), dtype=np.uint8), np.full((6, 4, 3), 9, dtype=np.uint8)
run.log({"other size": [wandb.Image(small), wandb.Image(large)]})
run.log({"same size": [wandb.Image(small), wandb.Image(torch.zeros(3, 4, 6)), wandb.Image(Image.new("L", (6, 4)))]})
run.log({"too many": [wandb.Image(small)] * 110, "one": [wandb.Image(large)]})
run.log({"tensors": [wandb.Image(torch.zeros(1, 4, 4)), wandb.Image(torch.zeros(1, 5, 4))]})
run.finish()
