"""What W&B shows of the training process beside its numbers: looked up on a thread of its own while training runs.

    git        commit, remote, and what was changed since the commit
    packages   the environment's packages and versions
    machine    processors, memory, GPUs, Slurm's job
    gather     all of it together, as one Process record
    gathering  the thread

Standard library only. What cannot be told is absent.
"""
