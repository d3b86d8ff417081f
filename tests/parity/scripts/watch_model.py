import torch
import wandb

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
other = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
with wandb.init(project="parity", id="watch") as run:
    run.watch([model, other], log="all", log_freq=2, idx=0)
    for step in range(6):
        loss = other(model(torch.randn(4, 5))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step != 3:  # two batches of histograms into one row: the newest counts
            run.log({"loss": loss.item(), "step": step})
    run.unwatch(other)
    other(model(torch.randn(4, 5))).square().mean().backward()
    other(model(torch.randn(4, 5))).square().mean().backward()
