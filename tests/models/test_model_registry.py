"""Models by name: creating, listing, and what a wrong name or setting is answered with."""

import inspect

import pytest

from chainrule import models
from chainrule.errors import ArgumentError


@pytest.mark.parametrize("name", models.names())
def test_every_model_takes_classes_and_channels_or_a_vocabulary(name):
    known = models.architecture(name)
    build, parameters = known.build, inspect.signature(known.build).parameters
    pictures = ["num_classes", "in_channels"]
    first = pictures if known.takes == "pictures" else ["vocabulary_size"]
    assert list(parameters)[: len(first)] == first
    assert all(p.default is not p.empty for p in parameters.values())
    assert build is getattr(models, name), "the function of the same name is public"
    assert build.__doc__.endswith(".\n    ")


def test_create_is_the_function_of_that_name():
    model = models.create("lenet5", num_classes=7, in_channels=3)
    assert type(model) is models.LeNet5
    assert model.output.out_features == 7
    assert model.c1.in_channels == 3


def test_an_unknown_name_is_answered_with_the_list_and_near_misses():
    with pytest.raises(ArgumentError) as info:
        models.create("LeNet-5")
    message = str(info.value)
    assert "create('lenet5')" in message
    assert ", ".join(models.names()) in message


def test_an_unknown_setting_is_answered_with_the_settings():
    with pytest.raises(ArgumentError, match=r"(?s)num_classes, in_channels.*num_classes=\.\.\."):
        models.create("lenet5", n_classes=10)


def test_names_can_be_asked_by_what_the_models_read():
    assert set(models.names("pictures")) | set(models.names("tokens")) == set(models.names())
    assert "gpt2" in models.names("tokens")
    assert "gpt2" not in models.names("pictures")


def test_looking_at_a_model_draws_no_weights():
    model = models.create("lenet5")
    model.summary((1, 28, 28))
    assert not any(p.node.is_drawn for p in model.parameters())
