import logging
import sys

import wandb

print("before init")
run = wandb.init(project="p", id="parity")
print("a line")
print("part one, ", end="")
print("part two")
print("several\nlines\nat once")
print("☃ and ключ")
sys.stderr.write("to stderr\n")
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
logging.info("through logging")
print()
print("last line without an end", end="")
run.finish()
print("after finish")
