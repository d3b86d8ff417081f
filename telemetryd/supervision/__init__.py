"""Supervision: the daemon's main thread, its run workers, and how it starts and ends.

daemon.py          `serve`: wires reception, undertaker and supervisor together
supervisor.py      which run has a worker, what it is told and what it reports
keeper.py          what the supervisor remembers of one run
worker_process.py  one worker process and its two pipes
restart_policy.py  when a worker that failed is started again (pure)
undertaker.py      sessions whose process died: adoption of their spool, or the news that they are lost
leftovers.py       processes that a dead daemon or worker left behind
state_folder.py    one daemon a state folder, and which one
shutdown.py        how long a stop may take (pure)
"""
