"""Layer tables and parameter counts of the architectures, as papers and torchvision give them.

Nothing is evaluated: shapes are inferred, parameters are counted before they are drawn.
"""

import pytest

from chainrule import models

# name → parameters; multiply-adds in 10⁹, as torchvision and the papers round them (None: no such
# figure); output shapes of one sample at rows of the layer table
PUBLISHED = {
    "lenet5": (
        61_706, 0.00,
        {"c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5),
         "c5": (120, 1, 1), "f6": (84,), "output": (10,)},
    ),
    "lenet5_1998": (
        60_000, 0.00,
        {"c1": (6, 28, 28), "s2.0": (6, 14, 14), "c3": (16, 10, 10), "s4.1": (16, 5, 5),
         "c5": (120, 1, 1), "f6": (84,), "output": (10,)},
    ),
    "alexnet": (
        61_100_840, 0.71,
        {"features.0": (64, 55, 55), "features.2": (64, 27, 27), "features.3": (192, 27, 27),
         "features.5": (192, 13, 13), "features.6": (384, 13, 13), "features.8": (256, 13, 13),
         "features.12": (256, 6, 6), "classifier.1": (4096,), "classifier.6": (1000,)},
    ),
    "alexnet_2012": (
        60_965_224, 0.72,
        {"features.0": (96, 55, 55), "features.3": (96, 27, 27), "features.4": (256, 27, 27),
         "features.8": (384, 13, 13), "features.14": (256, 6, 6)},
    ),
    "zfnet": (
        62_357_608, None,
        {"features.0": (96, 110, 110), "features.2": (96, 55, 55), "features.4": (256, 26, 26),
         "features.6": (256, 13, 13), "features.8": (384, 13, 13), "features.12": (256, 13, 13),
         "features.14": (256, 6, 6)},
    ),
    "vgg11": (
        132_863_336, 7.61,
        {"features.2": (64, 112, 112), "features.5": (128, 56, 56), "features.20": (512, 7, 7)},
    ),
    "vgg11_bn": (132_868_840, 7.61, {"features.28": (512, 7, 7)}),
    "vgg13": (133_047_848, 11.31, {"features.24": (512, 7, 7)}),
    "vgg13_bn": (133_053_736, 11.31, {"features.34": (512, 7, 7)}),
    "vgg16": (
        138_357_544, 15.47,
        {"features.4": (64, 112, 112), "features.9": (128, 56, 56), "features.16": (256, 28, 28),
         "features.23": (512, 14, 14), "features.30": (512, 7, 7), "classifier.6": (1000,)},
    ),
    "vgg16_bn": (138_365_992, 15.47, {"features.43": (512, 7, 7)}),
    "vgg19": (143_667_240, 19.63, {"features.36": (512, 7, 7)}),
    "vgg19_bn": (143_678_248, 19.63, {"features.52": (512, 7, 7)}),
    "resnet18": (
        11_689_512, 1.81,
        {"conv1": (64, 112, 112), "maxpool": (64, 56, 56), "layer1.1.relu": (64, 56, 56),
         "layer2.1.relu": (128, 28, 28), "layer3.1.relu": (256, 14, 14),
         "layer4.1.relu": (512, 7, 7), "avgpool": (512, 1, 1), "fc": (1000,)},
    ),
    "resnet34": (21_797_672, 3.66, {"layer3.5.relu": (256, 14, 14)}),
    "resnet50": (
        25_557_032, 4.09,
        {"layer1.2.conv1": (64, 56, 56), "layer1.2.relu": (256, 56, 56),
         "layer2.3.relu": (512, 28, 28), "layer3.5.relu": (1024, 14, 14),
         "layer4.2.relu": (2048, 7, 7)},
    ),
    "resnet101": (44_549_160, 7.80, {"layer3.22.relu": (1024, 14, 14)}),
    "resnet152": (60_192_808, 11.51, {"layer3.35.relu": (1024, 14, 14)}),
    "se_resnet18": (11_778_592, 1.81, {"layer1.0.se.fc1": (4, 1, 1)}),
    "se_resnet34": (21_958_868, 3.66, {"layer4.2.se.fc2": (512, 1, 1)}),
    "se_resnet50": (28_088_024, 4.09, {"layer4.2.se.fc1": (128, 1, 1)}),
    "se_resnet101": (49_326_872, 7.81, {"layer3.22.se.fc2": (1024, 1, 1)}),
    "se_resnet152": (66_821_848, 11.52, {"layer3.35.se.fc2": (1024, 1, 1)}),
    "cifar_resnet20": (
        269_722, 0.04,
        {"conv1": (16, 32, 32), "layer1.2.relu": (16, 32, 32), "layer2.2.relu": (32, 16, 16),
         "layer3.2.relu": (64, 8, 8), "avgpool": (64, 1, 1), "fc": (10,)},
    ),
    "cifar_resnet32": (464_154, 0.07, {"layer3.4.relu": (64, 8, 8)}),
    "cifar_resnet44": (658_586, 0.10, {"layer3.6.relu": (64, 8, 8)}),
    "cifar_resnet56": (853_018, 0.13, {"layer3.8.relu": (64, 8, 8)}),
    "cifar_resnet110": (1_727_962, 0.25, {"layer3.17.relu": (64, 8, 8)}),
    "googlenet": (
        6_624_904, 1.50,
        {"conv1.conv": (64, 112, 112), "maxpool1": (64, 56, 56), "conv3.conv": (192, 56, 56),
         "maxpool2": (192, 28, 28), "inception3a.branch2.1.conv": (128, 28, 28),
         "maxpool3": (480, 14, 14), "inception4e.branch1.conv": (256, 14, 14),
         "maxpool4": (832, 7, 7), "avgpool": (1024, 1, 1), "fc": (1000,)},
    ),
    "googlenet_2014": (
        6_998_552, None,  # table 1 rounds to 6.8 M without counting some; Caffe's model has these
        {"conv1.conv": (64, 112, 112), "maxpool1": (64, 56, 56), "maxpool2": (192, 28, 28),
         "inception3a.branch3.1.conv": (32, 28, 28), "maxpool3": (480, 14, 14),
         "maxpool4": (832, 7, 7), "avgpool": (1024, 1, 1)},
    ),
    "densenet121": (
        7_978_856, 2.83,
        {"features.conv0": (64, 112, 112), "features.pool0": (64, 56, 56),
         "features.transition1.norm": (256, 56, 56), "features.transition1.pool": (128, 28, 28),
         "features.transition2.norm": (512, 28, 28), "features.transition2.pool": (256, 14, 14),
         "features.transition3.norm": (1024, 14, 14), "features.transition3.pool": (512, 7, 7),
         "features.norm5": (1024, 7, 7)},
    ),
    "densenet169": (14_149_480, 3.36, {"features.norm5": (1664, 7, 7)}),
    "densenet201": (20_013_928, 4.29, {"features.norm5": (1920, 7, 7)}),
    "mobilenet_v2": (
        3_504_872, 0.30,
        {"features.0.0": (32, 112, 112), "features.1.conv.2": (16, 112, 112),
         "features.3.conv.3": (24, 56, 56), "features.6.conv.3": (32, 28, 28),
         "features.10.conv.3": (64, 14, 14), "features.13.conv.3": (96, 14, 14),
         "features.16.conv.3": (160, 7, 7), "features.17.conv.3": (320, 7, 7),
         "features.18.0": (1280, 7, 7), "classifier.1": (1000,)},
    ),
    "unet": (
        31_030_658, None,
        {"down.0.2": (64, 568, 568), "down.1.2": (128, 280, 280), "down.2.2": (256, 136, 136),
         "down.3.2": (512, 64, 64), "bottom.2": (1024, 28, 28), "up.3.2": (512, 52, 52),
         "up.2.2": (256, 100, 100), "up.1.2": (128, 196, 196), "up.0.2": (64, 388, 388),
         "head": (2, 388, 388)},
    ),
    "allconv": (
        # by hand: kernels (1·24 + 24·24 + 24·48 + 48·48 + 48·96 + 96·96)·9, norms 2·(48 + 96 + 192)
        # and the head 96·10 + 10
        (24 + 576 + 1152 + 2304 + 4608 + 9216) * 9 + 672 + 970, 0.02,
        {"features.3": (24, 28, 28), "features.9": (48, 14, 14), "features.15": (96, 7, 7),
         "head": (10, 7, 7), "avgpool": (10,)},
    ),
    # GPT-2: figures of the released weights, one matrix for both ends; char_gpt: nanoGPT's recipe
    "gpt2": (
        124_439_808, None,
        {"wte": (1024, 768), "h.0.attn.c_attn": (1024, 2304), "h.11.mlp.c_fc": (1024, 3072),
         "ln_f": (1024, 768), "lm_head": (1024, 50257)},
    ),
    "gpt2_medium": (354_823_168, None, {"h.23.attn.c_proj": (1024, 1024)}),
    "gpt2_large": (774_030_080, None, {"h.35.attn.c_proj": (1024, 1280)}),
    "gpt2_xl": (1_557_611_200, None, {"h.47.attn.c_proj": (1024, 1600)}),
    "char_gpt": (804_096, None, {"h.3.mlp.c_proj": (64, 128), "lm_head": (64, 65)}),
    # (places, batch, …) inside; by hand: rows of 256; 1, 4, 3 blocks of 256 · (256 + 256 + 2);
    # a head of 65 · 257
    "char_rnn": (65 * 256 + 256 * 514 + 65 * 257, None, {"head": (1, 65)}),
    "char_lstm": (65 * 256 + 4 * 256 * 514 + 65 * 257, None, {"embedding": (1, 256)}),
    "char_gru": (65 * 256 + 3 * 256 * 514 + 65 * 257, None, {"head": (1, 65)}),
    # the paper's 20 million, and second biases of 2 · 4 · 650
    "word_lstm": (
        10_000 * 650 + 2 * 4 * 650 * 1301 + 10_000 * 651 + 2 * 4 * 650, None,
        {"head": (1, 10_000)},
    ),
    # by hand: vectors of 300; 100 maps over 3, 4 and 5 of them; a head over the 300 maxima
    "sentence_cnn": (
        18_765 * 300 + 100 * 300 * (3 + 4 + 5) + 300 + 2 * 301, None,
        {"convs.0": (100, 62), "convs.2": (100, 60), "head": (2,)},
    ),
    "sentence_lstm": (
        18_765 * 300 + 2 * 4 * 168 * (300 + 168 + 2) + 2 * 337, None, {"head": (2,)},
    ),
    # Hugging Face's counts of the released weights, poolers included
    "bert_base": (
        109_482_240, None,
        {"embeddings.LayerNorm": (512, 768), "encoder.layer.11.intermediate.dense": (512, 3072),
         "pooler.dense": (768,)},
    ),
    "bert_large": (335_141_888, None, {"encoder.layer.23.output.dense": (512, 1024)}),
    "bert_pretraining": (110_106_428, None, {"cls.predictions.decoder": (512, 30522)}),
    "minilm_l6": (22_713_216, None, {"encoder.layer.5.output.LayerNorm": (512, 384)}),
    # by hand, embeddings of 620, states of 1000, vocabularies of 30,000: two tables, the reader's
    # gated units both ways, the bridge, the writer's, the head; with attention its three layers
    # and one that joins state and mean
    "seq2seq": (
        2 * 30_000 * 620 + 2 * 3000 * 1622 + 1000 * 2001 + 3000 * 1622 + 30_000 * 1001, None,
        {"head": (1, 30_000)},
    ),
    "seq2seq_attention": (
        2 * 30_000 * 620 + 2 * 3000 * 1622 + 1000 * 2001 + 3000 * 3622
        + 1000 * 1001 + 1000 * 2000 + 1000 + 1000 * 3001 + 30_000 * 1001, None,
        {"head": (1, 30_000)},
    ),
    # the paper's 65 and 213 million are rounded; by hand: one table, then for each layer of the
    # encoder and of the decoder 4 d² + 4 d an attention, 8 d² + 5 d two layers, 2 d a norm
    "transformer_base": (
        37_000 * 512 + 6 * (12 * 512**2 + 13 * 512) + 6 * (16 * 512**2 + 19 * 512), None,
        {"encoder.layers.5.linear1": (64, 2048), "head": (64, 37_000)},
    ),
    "transformer_big": (
        37_000 * 1024 + 6 * (12 * 1024**2 + 13 * 1024) + 6 * (16 * 1024**2 + 19 * 1024), None,
        {"decoder.layers.5.linear2": (64, 1024)},
    ),
}  # fmt: skip


DEEP = {"resnet34", "resnet101", "resnet152", "se_resnet34", "se_resnet101", "se_resnet152",
        "cifar_resnet44", "cifar_resnet56", "cifar_resnet110", "densenet169",
        "densenet201", "gpt2_large", "gpt2_xl"}  # fmt: skip


def cases():
    return [pytest.param(n, marks=[pytest.mark.slow] if n in DEEP else []) for n in PUBLISHED]


@pytest.mark.parametrize("name", cases())
def test_the_layer_table_is_the_published_one(name):
    n_parameters, giga, shapes = PUBLISHED[name]
    found = models.architecture(name).summary()
    assert found.n_parameters == n_parameters
    if giga is not None:
        assert found.multiply_adds / 1e9 == pytest.approx(giga, abs=0.006)
    given = {row.path: row.output_shape for row in found.rows}
    assert {path: given[path][1:] for path in shapes} == shapes


def test_every_model_has_its_figures_checked():
    own = {n for n in models.names() if models.architecture(n).build.__module__.startswith("chain")}
    assert set(PUBLISHED) == own
