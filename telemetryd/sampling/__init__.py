"""The machine under the runs, seen from outside the training processes: GPUs, host, containers, process trees.

    catalogue    what is measured, as data                 nvml, host   the only importers of pynvml and psutil
    main         a process of its own: lanes that sample   messages     what it and the daemon say to each other
    panel        a reading as W&B's System panel has it    ring         the last minutes at 1 Hz, for post-mortems

Nothing here knows of the inbox, of wandb or of the socket; the daemon's supervision starts it and passes readings on.
"""
