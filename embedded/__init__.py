"""The embedded default: everything the pipeline needs on one machine, with nothing installed but Python.

`redis` starts Redis servers, `stack` the whole pipeline, `run` is `make run`. Every process started here ends
with the process that started it, however that one ends (`child`, `guard`).
It is not for production, where Redis, the broker and the workers are run by whoever runs the machines.
"""
