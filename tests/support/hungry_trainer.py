"""Logs so many rows and then takes memory until the kernel kills it: `python hungry_trainer.py ROWS`."""

from __future__ import annotations

import sys

import client

run = client.init(project="hungry", id="hungry")
for number in range(int(sys.argv[1])):
    run.log({"i": number})
print("logged", flush=True)
taken = []
while True:
    taken.append(b"x" * (1 << 24))
