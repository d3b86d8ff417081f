"""A local stand-in for the W&B server: the real SDK and wandb-core accept it, it remembers everything, it can fail.

    python -m tests.standin --port 8080 --state-dir DIR --print-url

    store        what is remembered, in SQLite and files, so that it survives a restart
    graphql      a small GraphQL executor: parses a document, walks nodes, reports what nobody answers
    schema       the roots of the graph: every noun's queries and mutations together
    runs, file_stream, files, artifacts, collections, sweeps      one noun each; artifact_graph shows artifacts as nodes
    faults       what goes wrong on purpose, and how often
    listener     a port that goes down and comes up, a thread per connection
    handler      HTTP: the order of a request; transfer: contents in and out
    server       all of it together
    control      the questions and orders of tests, under /_control
    client       class Standin, the Python side of control
    fixture      pytest fixtures
    sdk          the real SDK in a process of its own

Standard library only (PyYAML, which wandb brings, for sweeps written in YAML).
"""
