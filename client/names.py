"""Names of wandb's module that cannot work beside training: why, and what to use instead.

`client.__getattr__` raises a MissingFeatureError with the text, so `hasattr(client, name)` is False.
"""

from __future__ import annotations

_INTEGRATION = "it imports wandb into the training process; write a callback of that library that calls client.log()"
_INTERNAL = "it is part of wandb's own package, which only the daemon has"

NEVER = {
    "EvalTable": "its rows go to Weave and not to the run, from the process that logs; use client.Table",
    "agents": f"{_INTERNAL}; use `telemetryd agent`",
    "analytics": _INTERNAL,
    "apis": f"{_INTERNAL}; use client.Api",
    "attach": "a process takes part in a run by a session of its own; call client.init(id=..., resume='allow') there",
    "catboost": _INTEGRATION,
    "controller": "it draws a sweep's parameters by itself, with W&B's key and another package; let W&B draw them"
    " (client.sweep, `telemetryd agent`), or call wandb.controller() where the key is",
    "env": f"{_INTERNAL}; docs/environment.md lists the variables",
    "gym": "it records videos with wandb; log them with client.log({'video': client.Video(...)})",
    "integration": _INTEGRATION,
    "jupyter": "it saves the notebook and its history with wandb; client.init() works in a notebook without it",
    "keras": _INTEGRATION,
    "lightgbm": _INTEGRATION,
    "patched": "nothing is patched here; log with client.log()",
    "profiler": "it uploads traces with wandb; save the trace file with run.save()",
    "proto": _INTERNAL,
    "sacred": _INTEGRATION,
    "sagemaker_auth": "the key to W&B is the daemon's; give it with `telemetryd login`",
    "sdk": _INTERNAL,
    "sklearn": "its plots need wandb; use client.plot, or log the numbers",
    "tensorboard": "it reads event files with wandb; log the numbers with client.log()",
    "tensorflow": _INTEGRATION,
    "trigger": _INTERNAL,
    "wandb": "it is wandb's package itself, which only the daemon has",
    "wandb_agent": f"{_INTERNAL}; use `telemetryd agent`",
    "wandb_lib": _INTERNAL,
    "wandb_sdk": _INTERNAL,
    "wandb_torch": f"{_INTERNAL}; use client.watch()",
    "xgboost": _INTEGRATION,
}
"""By name: the reason and what to use, as the error says it behind a colon."""
