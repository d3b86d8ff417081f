"""The `telemetryd` command. `main.py` parses and dispatches; each command is a module of its own."""
