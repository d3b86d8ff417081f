"""Hyperparameter sweeps: `client.sweep` makes one, `client.agent` runs its trials; the daemon asks W&B.

service         the questions to the daemon
path            which sweep is meant, and the sweep that this process is a trial of
agent           draws trials until the sweep is over; the rules by which it gives up
trials          one trial: a function on a thread, or a command in a process
macros          the command of a sweep's configuration, with the trial's parameters
stop            the agent's SIGTERM, taken as W&B's stop button is
calls           `client.sweep`, `client.agent`
"""
