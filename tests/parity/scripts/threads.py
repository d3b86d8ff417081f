import threading

import wandb

run = wandb.init(project="p", id="parity")


def work(number):
    for i in range(10):
        run.log({f"thread{number}": i, "i": i})


for number in range(4):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()
run.finish()
