"""What lies in deploy/, under the tools that know its kind, and on a real Slurm; `make manifests`."""
