import pathlib
import time

import wandb

pathlib.Path("out/deep").mkdir(parents=True)
pathlib.Path("out/live.txt").write_text("first")
pathlib.Path("out/deep/end.txt").write_text("first")
pathlib.Path("out/now.bin").write_bytes(bytes(range(256)) * 5000)
pathlib.Path("out/odd[1].txt").write_text("odd")


def shown(saved):
    return [str(pathlib.Path(path)).rpartition("files/")[2] for path in saved]


with wandb.init(project="p", id="parity") as run:
    print(shown(run.save("out/live.txt")))
    print(shown(wandb.save("out/deep/*", policy="end")))
    print(shown(run.save("out/now.bin", base_path="out", policy="now")))
    print(shown(run.save(pathlib.Path("out").absolute() / "live.txt")))
    print(shown(run.save("out/odd[1].txt", glob=False)), shown(run.save("out/none*")), run.save("gs://x/y"))
    for wrong in (("../x",), ("out/*", "elsewhere"), ("out", "out"), ("*.txt",), ("out/live.txt", None, "later")):
        try:
            run.save(*wrong)
        except ValueError as error:
            print(error)
    run.log({"a": 1})
    time.sleep(1)
    pathlib.Path("out/live.txt").write_text("second")
    pathlib.Path("out/deep/end.txt").write_text("second")
