"""Small variants of the architectures take training steps, the same ones on both engines."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models import resnet
from chainrule.models.cifar_resnet import ZeroPadShortcut
from chainrule.models.googlenet import AuxiliaryHead, Inception
from chainrule.scope import transform_scope

STAGES = ((1, 8, 1, 1), (2, 8, 1, 2))
SMALL = {
    "ResNet": lambda: models.ResNet(resnet.Bottleneck, (1, 1, 1, 1), 5, width=2),
    "SE-ResNet": lambda: models.ResNet(resnet.BasicBlock, (1, 1, 1, 1), 5, squeeze=2, width=2),
    "CIFAR ResNet": lambda: models.CifarResNet(1, 5, width=4),
    "VGG": lambda: models.VGG((1, 1), 5, channels=(2, 3), hidden=4, dropout=0.0),
    "DenseNet": lambda: models.DenseNet((1, 2), 5, growth=2, width=4),
    "MobileNetV2": lambda: models.MobileNetV2(5, width=0.25, stages=STAGES, dropout=0.0),
    "all-convolutional": lambda: models.AllConvolutional(5, 3, width=2, dropout=0.0),
}
FAST = {"CIFAR ResNet"}  # compiling the others takes seconds


def step(model, optimizer, x, y):
    loss, grads = cr.value_and_grad(lambda m: nn.cross_entropy(m(x), y))(model)
    optimizer.update(model, grads)
    return loss


def losses_of(make, engine, n_steps=2):
    cr.random.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 32, 32)).astype("f4"), rng.integers(0, 5, 4)
    order = np.tile(np.arange(4), (n_steps, 1))
    return cr.run_steps(step, (make(), optim.SGD(0.01)), (x, y), order, engine=engine)


def cases():
    return [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in SMALL]


@pytest.mark.parametrize("name", cases())
def test_engines_agree_on_training_steps(name):
    mine, reference = (losses_of(SMALL[name], engine) for engine in ("compiler", "interpreter"))
    assert abs(reference[1] - reference[0]) > 1e-4
    np.testing.assert_allclose(mine, reference, rtol=2e-3)


def test_u_net_learns_to_tell_pixels_apart():
    cr.random.seed(0)
    x = np.random.default_rng(0).normal(size=(4, 1, 12, 12)).astype("f4")
    y = (x[:, 0] > 0).astype(np.int64)
    model = models.UNet(2, 1, width=4, depth=1, padding=1, batch_norm=True)
    order = np.tile(np.arange(4), (20, 1))
    state = model, optim.Adam(0.02)
    losses = cr.run_steps(step, state, (x, y), order, engine="interpreter")
    assert losses[-1] < 0.3 < losses[0]


def test_u_net_crops_what_it_copies():
    """Unpadded, each pixel's answer is that of the pixels around it: shift in, shift out."""
    cr.random.seed(0)
    model = models.UNet(3, 2, width=2, depth=1)
    x = np.random.default_rng(0).normal(size=(1, 2, 24, 20)).astype("f4")
    whole = model(x).numpy()
    assert whole.shape == (1, 3, 8, 4)
    shifted = model(np.roll(x, (-2, -2), (2, 3))).numpy()
    np.testing.assert_allclose(shifted[:, :, :-2, :-2], whole[:, :, 2:, 2:], rtol=1e-4, atol=1e-5)


def test_u_net_says_which_sizes_fit():
    with pytest.raises(ShapeError, match="572 × 572"):
        models.unet().summary((1, 571, 570))
    with pytest.raises(ShapeError, match="pad or crop to 32 × 48"):
        models.unet(padding=1).summary((1, 31, 47))


def test_a_shortcut_without_parameters():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("f4")
    y = ZeroPadShortcut(2, 2)(cr.asarray(x)).numpy()
    assert np.array_equal(y[:, 1:4], x[:, :, ::2, ::2])
    assert not y[:, [0, 4]].any()
    assert y.shape == (2, 5, 3, 2)


def test_googlenet_answers_three_times_while_training():
    outputs = shapes_of(models.googlenet(7, aux_logits=True).train(), (2, 3, 64, 64))
    assert outputs == [(2, 7)] * 3
    assert shapes_of(models.googlenet(7, aux_logits=True).eval(), (2, 3, 64, 64)) == [(2, 7)]
    assert shapes_of(models.googlenet(7).train(), (2, 3, 64, 64)) == [(2, 7)]


def shapes_of(model, shape):
    """Shapes of the outputs; nothing is computed."""
    with transform_scope():
        outputs = model(cr.zeros(shape))
    return [y.shape for y in (outputs if isinstance(outputs, tuple) else (outputs,))]


def test_the_heads_losses_are_weighted():
    rng = np.random.default_rng(0)
    first, second, third = (cr.asarray(rng.normal(size=(3, 4)).astype("f4")) for _ in range(3))
    y = np.array([0, 3, 1])
    losses = [nn.cross_entropy(z, y).item() for z in (first, second, third)]
    found = models.auxiliary_cross_entropy((first, second, third), y).item()
    assert found == pytest.approx(losses[0] + 0.3 * (losses[1] + losses[2]), rel=1e-5)
    assert models.auxiliary_cross_entropy(first, y).item() == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_inception_joins_its_branches(batch_norm):
    block = Inception((4, 3, 2, 5, 1, 2, 6), batch_norm)
    assert block(cr.ones((1, 4, 5, 5))).shape == (1, 16, 5, 5)
    kernel = block[2][1][0].kernel_size
    assert kernel == ((3, 3) if batch_norm else (5, 5))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_auxiliary_heads_have_the_papers_sizes(batch_norm):
    head = AuxiliaryHead(512, 1000, batch_norm)
    found = {row.path: row.output_shape for row in head.summary((512, 14, 14)).rows}
    assert found["pool"] == (1, 512, 4, 4)
    assert found["fc1"] == (1, 1024)
    if not batch_norm:
        assert head.n_parameters == 3_188_840


def test_weights_begin_as_published():
    cr.random.seed(0)
    vgg = models.VGG((1, 1), 5, channels=(16, 32), hidden=64)
    assert np.std(vgg.features[3].weight.numpy()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert np.std(vgg.classifier[0].weight.numpy()) == pytest.approx(0.01, rel=0.05)
    assert not vgg.features[3].bias.numpy().any()
    first, second = models.AlexNet(form="2012").features[0:5:4]
    assert not first.bias.numpy().any()
    assert (second.bias.numpy() == 1).all()


def test_forms_are_checked():
    with pytest.raises(ArgumentError, match="form"):
        models.AlexNet(form="2013")
