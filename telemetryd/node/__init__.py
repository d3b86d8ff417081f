"""A further machine of a job: samples itself and adds the samples to the runs that train on it."""
