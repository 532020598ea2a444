"""``help`` and editors show how objects are made: no class hides its ``__init__``."""

import inspect

import pytest

from chainrule import data, metrics, models, nn, optim, training

CLASSES = {
    f"{package.__name__.rpartition('.')[2]}.{name}": getattr(package, name)
    for package in (data, metrics, models, nn, optim, training)
    for name in package.__all__
    if inspect.isclass(getattr(package, name))
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_shows_its_own_signature(name):
    made_by = CLASSES[name].__init__
    if inspect.isfunction(made_by):
        shown = [p.name for p in inspect.signature(CLASSES[name]).parameters.values()]
        assert ["self", *shown] == list(inspect.signature(made_by).parameters)
