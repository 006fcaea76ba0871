"""One runtime a file, for the worker's side: standard library, numpy and that runtime.

Of edgeq they import :mod:`edgeq.targets.workers.wire` and nothing else. Each defines ``versions()``
and a class ``Engine``, the shape of :class:`edgeq.targets.workers.serve.Engine`. They are sent to
the interpreter that runs them, which may be as old as Python 3.9.
"""
