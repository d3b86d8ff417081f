import io
import pathlib

import numpy as np
import torch
import wandb

rng = np.random.default_rng(0)
run = wandb.init(project="media", id="media3")

tone = np.sin(np.arange(4000) / 10)
run.log({"mono": wandb.Audio(tone, sample_rate=8000, caption="a tone"), "n": 1})
run.log({"stereo": wandb.Audio(np.stack([tone, -tone], axis=1), 8000), "float32": wandb.Audio(tone.astype("f4"), 8000)})
run.log({"int16": wandb.Audio((tone * 30000).astype("int16"), 8000), "list": wandb.Audio([0.0, 0.5, -0.5], 100)})
run.log({"torch": wandb.Audio(torch.from_numpy(tone), 8000)})
pathlib.Path("own.wav").write_bytes(b"RIFF not really")
run.log({"file": wandb.Audio("own.wav", caption="from a file"), "path": wandb.Audio(pathlib.Path("own.wav"))})
run.log({"clips": [wandb.Audio(tone, 8000, caption="first"), wandb.Audio(tone[:100], 8000)]})

frames = rng.integers(0, 255, (5, 3, 16, 24), dtype=np.uint8)
run.log({"gif": wandb.Video(frames, format="gif", caption="noise", fps=3)})
run.log({"batch": wandb.Video(np.stack([frames, frames, frames]), format="gif")})
run.log(
    {
        "floats": wandb.Video(frames.astype("f4"), format="gif"),
        "tensor": wandb.Video(torch.from_numpy(frames), format="gif"),
    }
)
run.log({"mp4": wandb.Video(frames, format="mp4", fps=8)})
pathlib.Path("film.webm").write_bytes(b"not really a film")
run.log(
    {"film": wandb.Video("film.webm", caption="a file"), "bytes": wandb.Video(io.BytesIO(b"gif bytes"), format="gif")}
)
run.log({"films": [wandb.Video("film.webm"), wandb.Video("film.webm")]})
run.finish()
