# needs: torch
import torch
import wandb

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(7, 3)))
with wandb.init(project="p", id="parity") as run:
    run.watch(model, log="gradients", log_freq=1, idx=0)
    for step in range(3):
        model(torch.randn(4, 5)).square().mean().backward()
        run.log({"step": step}, step=step * 10)
    run.log({"last": 1})
