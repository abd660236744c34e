"""A training run that Ctrl-C cuts short."""

from contextlib import contextmanager

import pytest


@contextmanager
def ctrl_c(monkeypatch, module, name, *, call):
    """Expect a Ctrl-C when the function `name` of `module` is called for the `call`-th time."""
    real, calls = getattr(module, name), []

    def interrupted(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, name, interrupted)
        yield
