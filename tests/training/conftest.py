"""Fixtures of the training tests."""

import pytest

from chainrule.training import pace as pace_module


@pytest.fixture
def chunk_size(monkeypatch):
    """Fix how many steps run in a stretch, whatever the machine's speed."""

    def fix(n_steps):
        def init(self, interval=0.1):
            self.interval, self.n_steps = interval, n_steps

        monkeypatch.setattr(pace_module.Pace, "__init__", init)
        monkeypatch.setattr(pace_module.Pace, "ran", lambda self, *a, **k: None)

    return fix
