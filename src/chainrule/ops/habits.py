"""Names that are not there: answered by what is used here instead, or by the nearest name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from chainrule.errors import MissingNameError
from chainrule.ops.origin import here

_GRADIENT = "loss, grads = cr.value_and_grad(lambda model: loss_of(model(x), target))(model)"
_NO_DEVICES = "leave it out: everything runs on the CPU"

#: what users of PyTorch and NumPy ask of an array → how it is done here
ARRAY = {
    "backward": _GRADIENT,
    "grad": f"gradients are results: {_GRADIENT}",
    "grad_fn": "cr.explain(loss) shows the graph",
    "requires_grad": "w = cr.variable(w), or cr.grad(function)(w)",
    "requires_grad_": "w = cr.variable(w), or cr.grad(function)(w)",
    "detach": "cr.stop_gradient(x)",
    "clone": "x itself: Arrays never change, so nobody needs a copy",
    "copy": "x itself: Arrays never change; x.numpy().copy() is an ndarray to write to",
    "cuda": _NO_DEVICES,
    "cpu": _NO_DEVICES,
    "to": "x.astype('float32') for another type; there are no devices to choose",
    "float": "x.astype('float32')",
    "double": "x.astype('float64')",
    "half": "x.astype('float16')",
    "long": "x.astype('int64')",
    "int": "x.astype('int32')",
    "type": "x.astype('float32'), x.dtype",
    "view": "x.reshape(...)",
    "flatten": "x.reshape(-1); nn.Flatten() keeps the batch",
    "ravel": "x.reshape(-1)",
    "permute": "cr.permute_dims(x, axes)",
    "transpose": "x.T, x.mT or cr.permute_dims(x, axes)",
    "t": "x.T",
    "unsqueeze": "x[:, None], or cr.expand_dims(x, axis=1)",
    "dim": "x.ndim",
    "numel": "x.size",
    "append": "cr.concat([x, y]): Arrays never change",
    "abs": "cr.abs(x)",
    "all": "cr.all(x)",
    "any": "cr.any(x)",
    "argmin": "cr.argmin(x)",
    "argsort": "cr.argsort(x)",
    "clamp": "cr.clip(x, low, high)",
    "clip": "cr.clip(x, low, high)",
    "cumsum": "cr.cumulative_sum(x)",
    "cumprod": "cr.cumulative_prod(x)",
    "dot": "x @ y",
    "exp": "cr.exp(x)",
    "log": "cr.log(x)",
    "nonzero": "cr.nonzero(x)",
    "norm": "cr.sqrt(cr.sum(x * x))",
    "pow": "x ** y",
    "prod": "cr.prod(x)",
    "relu": "cr.relu(x)",
    "repeat": "cr.repeat(x, n); cr.tile(x, (n,)) for copies side by side",
    "round": "cr.round(x)",
    "sigmoid": "cr.sigmoid(x)",
    "softmax": "nn.softmax(x)",
    "sort": "cr.sort(x)",
    "sqrt": "cr.sqrt(x)",
    "squeeze": "cr.squeeze(x, axis=1), or x[:, 0]",
    "std": "cr.std(x)",
    "swapaxes": "cr.permute_dims(x, axes)",
    "take": "cr.take(x, indices, axis=0), or x[indices]",
    "tanh": "cr.tanh(x)",
    "var": "cr.var(x)",
    "fill_": "cr.full_like(x, value): Arrays never change",
    "add_": "x = x + y: Arrays never change",
    "sub_": "x = x - y: Arrays never change",
    "mul_": "x = x * y: Arrays never change",
    "zero_": "cr.zeros_like(x): Arrays never change",
}

#: the same for a Module
MODULE = {
    "to": _NO_DEVICES + "; model.astype('float64') for another type",
    "cuda": _NO_DEVICES,
    "cpu": _NO_DEVICES,
    "half": "model.astype('float16')",
    "double": "model.astype('float64')",
    "float": "model.astype('float32')",
    "zero_grad": "leave it out: gradients are results and do not add up",
    "backward": _GRADIENT,
    "requires_grad_": "model.freeze(), model.unfreeze()",
    "fit": "cr.Trainer(model, loss=..., optimizer=...).fit((inputs, targets))",
    "predict": "model.eval()(inputs), or Trainer.predict(inputs)",
    "compile": "cr.Trainer(model, loss=..., optimizer=...)",
    "add": "Sequential.append(layer)",
    "register_buffer": "assign the Array: self.mean = cr.zeros(3)",
    "register_parameter": "assign it: self.weight = nn.Parameter(...)",
    "weights": "model.state_dict(), or named_parameters()",
    "save": "Trainer.fit(run_dir=...) writes the weights; model.state_dict() gives them",
}

#: the same for chainrule.nn
NN = {
    "ModuleList": "a plain list: self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]",
    "ModuleDict": "a plain dict: self.heads = {'a': nn.Linear(2, 2)}",
    "ParameterList": "attributes: setattr(self, f'scale_{i}', nn.Parameter(w))",
    "ParameterDict": "attributes: self.scale = nn.Parameter(w)",
    "Dense": "nn.Linear(in_features, out_features)",
    "Swish": "nn.SiLU()",
    "Conv2D": "nn.Conv2d(in_channels, out_channels, kernel_size)",
    "LazyConv2d": "nn.Conv2d(in_channels, out_channels, kernel_size)",
    "MaxPooling2D": "nn.MaxPool2d(kernel_size)",
    "AveragePooling2D": "nn.AvgPool2d(kernel_size)",
    "GlobalAveragePooling2D": "nn.GlobalAvgPool()",
    "BatchNormalization": "nn.BatchNorm2d(channels)",
    "SyncBatchNorm": "nn.BatchNorm2d(channels)",
    "UpSampling2D": "nn.Upsample(scale_factor=2)",
    "UpsamplingNearest2d": "nn.Upsample(scale_factor=2)",
    "UpsamplingBilinear2d": "nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True)",
    "SpatialDropout2D": "nn.Dropout2d(p)",
    "Concatenate": "nn.Parallel(branch, other), or cr.concat",
    "MultiHeadAttention": "nn.MultiheadAttention",
    "Transformer": "nn.TransformerEncoder and nn.TransformerDecoder",
}

#: the same for an optimizer
OPTIMIZER = {
    "zero_grad": "leave it out: gradients are results and do not add up",
    "param_groups": "optimizer.learning_rate = 0.01; groups=[optim.group('*.bias', ...)]",
    "apply_gradients": "optimizer.update(model, grads)",
    "minimize": "loss, grads = cr.value_and_grad(f)(model); optimizer.update(model, grads)",
}

#: the same for the package itself
PACKAGE = {
    "tensor": "cr.asarray(x); cr.variable(x) where a gradient is wanted",
    "Tensor": "cr.asarray(x); the type is cr.Array",
    "array": "cr.asarray(x)",
    "from_numpy": "cr.asarray(x)",
    "no_grad": "leave it out: gradients are computed only where cr.grad asks for them",
    "cat": "cr.concat",
    "concatenate": "cr.concat",
    "mm": "cr.matmul, or a @ b",
    "dot": "cr.matmul, or a @ b",
    "mul": "cr.multiply, or a * b",
    "softmax": "nn.softmax",
    "manual_seed": "cr.random.seed(n)",
    "rand": "cr.random.uniform(cr.random.key(0), shape)",
    "randn": "cr.random.normal(cr.random.key(0), shape)",
    "jit": "cr.compile",
    "save": "model.state_dict() gives the weights; Trainer.fit(run_dir=...) writes them",
    "load": "model.load_state_dict(weights)",
    "cuda": _NO_DEVICES,
    "device": _NO_DEVICES,
    "long": "cr.int64",
    "float": "cr.float32",
    "relu_": "cr.relu",
    "arccos": "cr.acos",
    "arcsin": "cr.asin",
    "arctan": "cr.atan",
    "power": "cr.pow, or a ** b",
    "absolute": "cr.abs",
    "transpose": "x.T, x.mT or cr.permute_dims(x, axes)",
    "dtype": "cr.float32, cr.int64, ...",
}


def missing(
    owner: str,
    name: str,
    habits: Mapping[str, str],
    known: Callable[[], Iterable[str]] = tuple,
) -> AttributeError:
    """The error for an attribute that is not there.

    Args:
        owner: Whose attribute, as the message names it: ``"Array"``.
        name: What was asked for.
        habits: Name elsewhere → what is done here.
        known: Gives the names that there are; asked only if no habit answers.
    """
    # Python and NumPy ask for such names all the time, and take no for an answer
    if name.startswith("_"):
        return AttributeError(f"{owner} has no attribute {name!r}")
    fix = habits.get(name, "")
    if not fix:
        near = _nearest(name, [x for x in known() if not x.startswith("_")])
        fix = f"did you mean {near}?" if near else ""
    return MissingNameError(f"{owner} has no attribute {name!r}", fix=fix, where=str(here()))


def _nearest(name: str, known: Iterable[str]) -> str:
    """The known name closest to one that was typed, whatever its case; ``""`` if none is near."""
    import difflib  # only where something is wrong already

    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(candidate.lower().replace("_", ""), candidate)
    close = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""
