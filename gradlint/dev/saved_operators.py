"""The list of cases: one line per operator, or per form of it where the forms save different tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gradlint.dev.saved_cases import Case, Operand
from gradlint.torch_model.load import words


def _t(*shape: int) -> Operand:
    return Operand(shape)


MATRIX, TALL, SQUARE, SYMMETRIC = _t(3, 4), _t(4, 3), _t(4, 4), Operand((4, 4), "square")
VECTOR, SCALAR, BATCH, BATCH_T = _t(4), _t(), _t(2, 3, 4), _t(2, 4, 3)
LINE, IMAGE, VOLUME = _t(2, 4, 8), _t(2, 4, 8, 8), _t(2, 4, 4, 4, 4)
MASK, INDEX, LABELS, ROWS = Operand((3, 4), "mask"), Operand((3, 4), "index"), Operand((3,), "index"), _t(3)
PLACES = Operand((2, 4), "index")
COMPLEX, SIGNS, FIXED = Operand((3, 4), "complex"), Operand((3, 4), "sign"), Operand((4,), "constant")


def cases() -> Iterator[Case]:
    """Yield every case."""
    yield from _pointwise()
    yield from _binary()
    yield from _in_place()
    yield from _products()
    yield from _reductions()
    yield from _shapes()
    yield from _indexing()
    yield from _functional()
    yield from _linalg()
    yield from _modules()


def _each(names: str, *operands: Any, kinds: str = "*", prefix: str = "", home: Any = torch) -> Iterator[Case]:
    """Yield a case for every name in ``names``, all called with ``operands``."""
    for name in names.split():
        yield Case(prefix + name, getattr(home, name), operands, kinds)


def _method(name: str, *operands: Any, kinds: str = "*") -> Case:
    return Case(name, getattr(torch.Tensor, name), operands, kinds)


def _pointwise() -> Iterator[Case]:
    yield from _each(
        "abs absolute acos arccos acosh arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil celu cos cosh "
        "deg2rad digamma erf erfc erfinv exp exp2 expm1 fix floor frac i0 lgamma log log10 log1p log2 logit "
        "nan_to_num neg negative positive rad2deg reciprocal relu round rsqrt selu sgn sigmoid sign sin sinc sinh "
        "sqrt square tan tanh trunc angle clone hardshrink conj_physical",
        MATRIX,
    )
    yield from _each("entr erfcx expit gammaln i0e i1 i1e log_ndtr ndtr ndtri psi", MATRIX, home=torch.special)
    yield from _each("softmax log_softmax logsumexp", MATRIX, 1)
    yield from _each("softmax log_softmax logsumexp", BATCH, -1)
    yield from _each("real imag conj resolve_conj view_as_real", COMPLEX)
    yield from _each("mvlgamma", _t(3, 4), 1)
    yield Case("polygamma", torch.polygamma, (1, MATRIX))
    yield from _each("complex polar", MATRIX, MATRIX)
    for name in ("clamp", "clip"):
        yield Case(name, getattr(torch, name), (MATRIX, 0.3, 0.7), "tn*")
        yield Case(name, getattr(torch, name), (MATRIX,), "tn*", keywords={"min": 0.3})
        yield Case(name, getattr(torch, name), (MATRIX, MATRIX, MATRIX), "tt*")
    yield from _each("clamp_min clamp_max", MATRIX, 0.5)
    yield from _each("bernoulli poisson", MATRIX)


def _binary() -> Iterator[Case]:
    yield from _each(
        "add sub subtract mul multiply true_divide fmod remainder pow float_power atan2 arctan2 "
        "hypot maximum minimum fmax fmin max min logaddexp logaddexp2 xlogy copysign dist ldexp",
        MATRIX,
        MATRIX,
        kinds="tt*",
    )
    yield from _each(
        "add sub subtract mul multiply true_divide fmod remainder pow float_power xlogy copysign",
        MATRIX,
        2.0,
        kinds="tn*",
    )
    for name in ("div", "divide"):
        for kinds, other in (("tt", MATRIX), ("tn", 2.0)):
            yield Case(name, getattr(torch, name), (MATRIX, other), kinds)
            rounded = {"rounding_mode": "floor"}
            yield Case(name, getattr(torch, name), (MATRIX, other), f"{kinds}n", keywords=rounded)
    yield from _each("pow float_power", 2.0, MATRIX, kinds="nt*")
    yield Case("xlogy", torch.xlogy, (2.0, MATRIX), "nt*")
    yield from _each("xlog1py", MATRIX, MATRIX, home=torch.special)
    yield from _each("rsub", MATRIX, MATRIX)
    yield from _each("cross", _t(4, 3), _t(4, 3), 1)
    python: dict[str, Callable[..., Any]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
        "**": operator.pow,
        "%": operator.mod,
    }
    for symbol, function in python.items():
        yield Case(symbol, function, (MATRIX, MATRIX), "tt")
        yield Case(symbol, function, (MATRIX, 2.0), "tn")
        if symbol != "%":  # torch has no derivative for it
            yield Case(symbol, function, (2.0, MATRIX), "nt")
    yield Case("**", operator.pow, (MATRIX, 2), "tn")
    yield Case("@", operator.matmul, (MATRIX, TALL), "tt")
    yield Case("@", operator.matmul, (BATCH, BATCH_T), "tt")
    yield Case("neg", operator.neg, (MATRIX,))
    yield from _each("lerp", MATRIX, MATRIX, 0.5, kinds="ttn")
    yield from _each("lerp", MATRIX, MATRIX, MATRIX, kinds="ttt")
    yield from _each("addcmul addcdiv", MATRIX, MATRIX, MATRIX)
    yield from _each("where", MASK, MATRIX, MATRIX)


def _in_place() -> Iterator[Case]:
    """Yield the in-place forms. Their operand 0 is what the tensor was before, their result what it is after."""

    def written(name: str) -> Callable[..., Any]:
        method = getattr(torch.Tensor, name)
        return lambda x, *others: method(x.clone(), *others)  # a leaf must not be written

    unary = words(
        "abs_ acos_ asin_ atan_ ceil_ cos_ cosh_ digamma_ erf_ erfc_ erfinv_ exp2_ exp_ expm1_ floor_ frac_ "
        "lgamma_ log10_ log1p_ log2_ log_ logit_ neg_ reciprocal_ relu_ round_ rsqrt_ sgn_ sigmoid_ sign_ "
        "sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ tril_ triu_ trunc_ zero_"
    )
    for name in sorted(unary):
        yield Case(name, written(name), (MATRIX,))
    for name in ("add_", "sub_", "mul_", "div_", "pow_", "atan2_", "copy_", "hypot_", "remainder_"):
        yield Case(name, written(name), (MATRIX, MATRIX), "tt*")
    for name in ("add_", "sub_", "mul_", "div_", "pow_", "remainder_"):
        yield Case(name, written(name), (MATRIX, 2.0), "tn*")
    for name in ("clamp_min_", "clamp_max_", "fill_"):
        yield Case(name, written(name), (MATRIX, 0.5))
    yield Case("clamp_", written("clamp_"), (MATRIX, 0.3, 0.7))
    for name in ("addcmul_", "addcdiv_"):
        yield Case(name, written(name), (MATRIX, MATRIX, MATRIX))
    yield Case("lerp_", written("lerp_"), (MATRIX, MATRIX, 0.5), "ttn")
    yield Case("lerp_", written("lerp_"), (MATRIX, MATRIX, MATRIX), "ttt")
    yield Case("addmm_", written("addmm_"), (_t(3, 3), MATRIX, TALL))
    yield Case("masked_fill_", written("masked_fill_"), (MATRIX, MASK, 0.0))
    yield Case("scatter_add_", written("scatter_add_"), (MATRIX, 1, INDEX, MATRIX))
    yield Case("index_add_", written("index_add_"), (SQUARE, 0, LABELS, MATRIX))
    yield Case("index_fill_", written("index_fill_"), (MATRIX, 0, LABELS, 0.0))
    for symbol, name in (("+=", "__iadd__"), ("-=", "__isub__"), ("*=", "__imul__"), ("/=", "__itruediv__")):
        yield Case(symbol, written(name), (MATRIX, MATRIX), "tt")
        yield Case(symbol, written(name), (MATRIX, 2.0), "tn")
    yield Case("**=", written("__ipow__"), (MATRIX, 2.0), "tn")
    yield Case("**=", written("__ipow__"), (MATRIX, MATRIX), "tt")


def _products() -> Iterator[Case]:
    yield from _each("mm matmul", MATRIX, TALL)
    yield Case("matmul", torch.matmul, (BATCH, TALL))
    yield Case("matmul", torch.matmul, (BATCH, BATCH_T))
    yield Case("matmul", torch.matmul, (VECTOR, VECTOR))
    yield from _each("mv", MATRIX, VECTOR)
    yield from _each("bmm", BATCH, BATCH_T)
    yield from _each("dot vdot inner outer ger", VECTOR, VECTOR)
    yield from _each("kron", MATRIX, MATRIX)
    yield from _each("addmm", _t(3, 3), MATRIX, TALL)
    yield from _each("addmv", ROWS, MATRIX, VECTOR)
    yield from _each("addr", _t(4, 4), VECTOR, VECTOR)
    yield from _each("addbmm", _t(3, 3), BATCH, BATCH_T)
    yield from _each("baddbmm", _t(2, 3, 3), BATCH, BATCH_T)
    yield from _each("tensordot", MATRIX, TALL, 1)
    yield Case("einsum", torch.einsum, ("ij,jk->ik", MATRIX, TALL))
    yield Case("einsum", torch.einsum, ("bij,bjk->bik", BATCH, BATCH_T))
    yield Case("einsum", torch.einsum, ("ij,ij->i", MATRIX, MATRIX))
    yield from _each("cdist", MATRIX, MATRIX)
    yield from _each("matrix_power", SQUARE, 3)
    unchecked = {"check_invariants": False}
    yield Case("sparse_coo_tensor", torch.sparse_coo_tensor, (PLACES, VECTOR, (4, 4)), keywords=unchecked)


def _reductions() -> Iterator[Case]:
    yield from _each("sum mean nansum nanmean", MATRIX)
    yield from _each("sum mean nansum nanmean", MATRIX, 1)
    yield from _each("prod std var std_mean var_mean norm amax amin", MATRIX)
    yield from _each("prod std var std_mean var_mean amax amin", MATRIX, 1)
    for power in (1, 2, 3, float("inf")):
        yield from _each("norm", MATRIX, power)
        yield from _each("norm", MATRIX, power, 1)
    yield from _each("max min median nanmedian", MATRIX, kinds="t")
    yield from _each("max min median nanmedian", MATRIX, 1, kinds="tn*")
    yield from _each("mode kthvalue topk cummax cummin cumsum cumprod logcumsumexp", MATRIX, 1)
    yield from _each("sort msort trace diff aminmax cov corrcoef trapezoid", MATRIX)
    yield from _each("quantile nanquantile", MATRIX, 0.5)
    yield from _each("renorm", MATRIX, 2, 0, 1.0)
    yield from _each("cumulative_trapezoid", MATRIX)
    yield from _each("logsumexp", MATRIX, 0)


def _shapes() -> Iterator[Case]:
    yield from _each("t adjoint ravel flatten fliplr flipud atleast_1d atleast_2d atleast_3d squeeze tril triu", MATRIX)
    yield from _each("diag diagonal diag_embed diagflat", MATRIX)
    yield from _each("transpose swapaxes swapdims movedim moveaxis", MATRIX, 0, 1)
    yield from _each("unsqueeze unbind", MATRIX, 0)
    yield from _each("chunk split tensor_split hsplit", MATRIX, 2)
    yield from _each("vsplit", SQUARE, 2)
    yield from _each("flip", MATRIX, [0])
    yield from _each("permute", MATRIX, [1, 0])
    yield from _each("reshape", MATRIX, [4, 3])
    yield from _each("broadcast_to", VECTOR, [3, 4])
    yield from _each("tile", MATRIX, [2, 2])
    yield from _each("roll repeat_interleave", MATRIX, 1)
    yield from _each("rot90", MATRIX)
    yield from _each("narrow", MATRIX, 0, 0, 2)
    yield from _each("select", MATRIX, 0, 1)
    yield from _each("unflatten", MATRIX, 1, [2, 2])
    yield from _each("as_strided", MATRIX, [2, 2], [1, 1])
    yield from _each("cat concat concatenate stack hstack vstack dstack column_stack", (MATRIX, MATRIX))
    for name, function in (("block_diag", torch.block_diag), ("broadcast_tensors", torch.broadcast_tensors)):
        yield Case(name, function, (MATRIX, MATRIX))
    yield Case("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), (VECTOR, VECTOR))
    yield from _each("cartesian_prod", VECTOR, VECTOR)
    yield from _each("combinations", VECTOR)
    for name in ("contiguous", "double", "half", "bfloat16", "float", "cpu", "view_as", "expand_as", "type_as"):
        extra = (MATRIX,) if name.endswith("_as") else ()
        yield _method(name, MATRIX, *extra)
    yield _method("to", MATRIX, torch.float32)
    yield _method("to", MATRIX, torch.float64)
    yield _method("view", MATRIX, 4, 3)
    yield _method("reshape_as", MATRIX, TALL)
    yield _method("expand", VECTOR, 3, 4)
    yield _method("repeat", MATRIX, 2, 1)
    yield _method("unfold", MATRIX, 1, 2, 1)
    yield _method("sum_to_size", MATRIX, 1, 4)
    for name in ("T", "mT"):
        yield Case(name, lambda x, name=name: getattr(x, name), (MATRIX,))


def _indexing() -> Iterator[Case]:
    yield Case("[]", operator.getitem, (MATRIX, 0), "tn")
    yield Case("[]", operator.getitem, (MATRIX, slice(0, 2)), "tn")
    yield Case("[]", operator.getitem, (MATRIX, MASK), "tt")
    yield Case("[]", operator.getitem, (MATRIX, LABELS), "tt")
    yield from _each("gather", MATRIX, 1, INDEX)
    yield from _each("take_along_dim", MATRIX, INDEX, 1)
    yield from _each("index_select", MATRIX, 0, LABELS)
    yield from _each("take", MATRIX, INDEX)
    yield from _each("masked_fill", MATRIX, MASK, 0.0)
    yield from _each("masked_scatter", MATRIX, MASK, MATRIX)
    yield from _each("masked_select", MATRIX, MASK)
    yield from _each("scatter", MATRIX, 1, INDEX, 0.0, kinds="tntn")
    yield from _each("scatter", MATRIX, 1, INDEX, MATRIX, kinds="tntt")
    yield from _each("scatter_add", MATRIX, 1, INDEX, MATRIX)
    for how in ("sum", "amax", "mean"):
        yield from _each("scatter_reduce", MATRIX, 1, INDEX, MATRIX, how)
    yield from _each("index_add index_copy", SQUARE, 0, LABELS, MATRIX)
    yield from _each("index_fill", MATRIX, 0, LABELS, 0.0)
    yield from _each("select_scatter", MATRIX, VECTOR, 0, 1)
    yield from _each("slice_scatter", MATRIX, MATRIX)
    yield from _each("diagonal_scatter", SQUARE, VECTOR)


def _functional() -> Iterator[Case]:
    def each(names: str, *operands: Any, kinds: str = "*") -> Iterator[Case]:
        return _each(names, *operands, kinds=kinds, home=functional)

    yield from each(
        "relu relu6 elu selu celu gelu silu mish hardswish hardsigmoid hardtanh leaky_relu softplus softsign "
        "tanhshrink softshrink hardshrink logsigmoid sigmoid tanh rrelu",
        MATRIX,
    )
    yield from each("gumbel_softmax", MATRIX)
    yield from each("softmin", MATRIX, 1)
    yield Case("gelu", functional.gelu, (MATRIX,), keywords={"approximate": "tanh"})
    yield from each("normalize", MATRIX)
    yield from each("glu", MATRIX)
    yield from each("threshold", MATRIX, 0.5, 0.0)
    yield from each("prelu", MATRIX, _t(1))
    yield from each("linear", MATRIX, _t(5, 4), _t(5))
    yield from each("linear", BATCH, _t(5, 4), _t(5))
    yield from each("bilinear", MATRIX, MATRIX, _t(5, 4, 4))
    for dims, given in ((1, LINE), (2, IMAGE), (3, VOLUME)):
        weight = _t(4, 4, *[3] * dims)
        yield from each(f"conv{dims}d conv_transpose{dims}d", given, weight, VECTOR)
        yield from each(f"avg_pool{dims}d max_pool{dims}d adaptive_avg_pool{dims}d adaptive_max_pool{dims}d", given, 2)
        yield from each(f"adaptive_avg_pool{dims}d", given, 1)
        yield from each(f"lp_pool{dims}d", given, 2.0, 2)
        yield from each(f"dropout{dims}d", given)
    yield from each("dropout alpha_dropout feature_alpha_dropout", LINE)
    yield from each("dropout", LINE, 0.5, False)
    yield from each("batch_norm", IMAGE, None, None, VECTOR, VECTOR, True)
    yield Case("batch_norm", functional.batch_norm, (IMAGE, FIXED, FIXED, VECTOR, VECTOR, False))
    yield from each("instance_norm", IMAGE)
    yield from each("layer_norm", MATRIX, [4], VECTOR, VECTOR)
    yield from each("rms_norm", MATRIX, [4], VECTOR)
    yield from each("group_norm", IMAGE, 2, VECTOR, VECTOR)
    yield from each("local_response_norm", IMAGE, 2)
    yield from each("embedding", INDEX, TALL)
    yield from each("embedding_bag", INDEX, TALL)
    yield from each("pad", MATRIX, [1, 1])
    yield Case("pad", functional.pad, (IMAGE, [1, 1, 1, 1], "reflect"))
    yield Case("interpolate", functional.interpolate, (IMAGE,), keywords={"scale_factor": 2.0})
    yield Case("interpolate", functional.interpolate, (IMAGE, None, 2.0, "bilinear"))
    yield from each("pixel_shuffle pixel_unshuffle channel_shuffle", IMAGE, 2)
    yield from each("unfold", IMAGE, 2)
    yield Case("grid_sample", functional.grid_sample, (IMAGE, _t(2, 3, 3, 2)), keywords={"align_corners": False})
    yield Case("affine_grid", functional.affine_grid, (_t(2, 2, 3), [2, 1, 4, 4]), keywords={"align_corners": False})
    yield from each("cosine_similarity pairwise_distance", MATRIX, MATRIX)
    yield from each("pdist", MATRIX)
    attention = "scaled_dot_product_attention"
    heads = (_t(2, 2, 4, 8),) * 3
    yield from each(attention, *heads)
    yield from each(attention, *heads, None, 0.1)
    yield Case(attention, functional.scaled_dot_product_attention, heads, keywords={"is_causal": True})
    yield from each(attention, *(_t(2, 2, 80, 64),) * 3)
    yield from _losses(each)


def _losses(each: Callable[..., Iterator[Case]]) -> Iterator[Case]:
    yield from each("mse_loss l1_loss smooth_l1_loss huber_loss poisson_nll_loss", MATRIX, MATRIX)
    yield Case("kl_div", functional.kl_div, (MATRIX, MATRIX), keywords={"reduction": "batchmean"})
    yield from each("binary_cross_entropy binary_cross_entropy_with_logits", MATRIX, MATRIX)
    yield from each("soft_margin_loss hinge_embedding_loss", MATRIX, SIGNS)
    yield from each("cross_entropy nll_loss multi_margin_loss", MATRIX, LABELS)
    yield from each("cross_entropy", MATRIX, MATRIX)
    yield Case("cross_entropy", functional.cross_entropy, (MATRIX, LABELS), keywords={"label_smoothing": 0.1})
    yield from each("multilabel_soft_margin_loss", MATRIX, MATRIX)
    yield from each("gaussian_nll_loss triplet_margin_loss", MATRIX, MATRIX, MATRIX)
    yield from each("margin_ranking_loss", MATRIX, MATRIX, SIGNS)
    yield from each("cosine_embedding_loss", MATRIX, MATRIX, ROWS)


def _linalg() -> Iterator[Case]:
    def each(names: str, *operands: Any) -> Iterator[Case]:
        return _each(names, *operands, home=torch.linalg, prefix="linalg.")

    yield from _each("inverse det logdet slogdet matrix_exp pinverse svd qr cholesky", SYMMETRIC)
    yield from _each("triangular_solve cholesky_solve", _t(4, 2), SYMMETRIC)
    yield from each("inv det slogdet cholesky eigh eigvalsh svdvals pinv qr matrix_exp", SYMMETRIC)
    yield from each("cholesky_ex inv_ex lu lu_factor", SYMMETRIC)
    yield from each("lstsq", SYMMETRIC, _t(4, 2))
    triangular = torch.linalg.solve_triangular
    yield Case("linalg.solve_triangular", triangular, (SYMMETRIC, _t(4, 2)), keywords={"upper": True})
    yield from each("svd", SYMMETRIC, False)
    yield from each("norm vector_norm matrix_norm", MATRIX)
    yield from each("solve", SYMMETRIC, _t(4, 2))
    yield from each("cross", _t(4, 3), _t(4, 3))
    for name in ("fft", "ifft", "rfft", "fft2", "ifft2", "rfft2", "fftn", "ifftn", "rfftn", "fftshift"):
        yield Case(f"fft.{name}", getattr(torch.fft, name), (MATRIX,))
    for name in ("irfft", "irfft2"):
        yield Case(f"fft.{name}", getattr(torch.fft, name), (COMPLEX,))


def _modules() -> Iterator[Case]:
    def module(name: str, operands: tuple[Any, ...], *arguments: Any, **keywords: Any) -> Case:
        def make() -> nn.Module:
            made: nn.Module = getattr(nn, name)(*arguments, **keywords)
            return made

        return Case(f"nn.{name}", make, operands, module=True)

    activations = words(
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid Mish PReLU RReLU "
        "ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Flatten Dropout AlphaDropout"
    )
    for name in sorted(activations):
        yield module(name, (MATRIX,))
    for name in ("Softmax", "LogSoftmax", "Softmin"):
        yield module(name, (MATRIX,), 1)
    yield module("Softmax2d", (IMAGE,))
    yield module("Threshold", (MATRIX,), 0.5, 0.0)
    yield module("Linear", (MATRIX,), 4, 5)
    yield module("Linear", (BATCH,), 4, 5)
    yield module("Linear", (MATRIX,), 4, 5, bias=False)
    yield module("Bilinear", (MATRIX, MATRIX), 4, 4, 5)
    yield module("Embedding", (INDEX,), 5, 4)
    yield module("EmbeddingBag", (INDEX,), 5, 4)
    for dims, given in ((1, LINE), (2, IMAGE), (3, VOLUME)):
        for name in ("Conv", "ConvTranspose"):
            yield module(f"{name}{dims}d", (given,), 4, 5, 3)
        for name in ("BatchNorm", "InstanceNorm"):
            yield module(f"{name}{dims}d", (given,), 4)
        for name in ("AvgPool", "MaxPool", "AdaptiveAvgPool", "AdaptiveMaxPool"):
            yield module(f"{name}{dims}d", (given,), 2)
        yield module(f"AdaptiveAvgPool{dims}d", (given,), 1)
        yield module(f"Dropout{dims}d", (given,))
        for name in ("ZeroPad", "ReflectionPad", "ReplicationPad"):
            yield module(f"{name}{dims}d", (given,), 1)
    yield module("LayerNorm", (MATRIX,), 4)
    yield module("RMSNorm", (MATRIX,), 4)
    yield module("GroupNorm", (IMAGE,), 2, 4)
    yield module("Unflatten", (MATRIX,), 1, (2, 2))
    yield module("Upsample", (IMAGE,), scale_factor=2)
    yield module("UpsamplingNearest2d", (IMAGE,), scale_factor=2)
    yield module("UpsamplingBilinear2d", (IMAGE,), scale_factor=2)
    for name in ("PixelShuffle", "PixelUnshuffle", "ChannelShuffle"):
        yield module(name, (IMAGE,), 2)
    for name in ("CosineSimilarity", "PairwiseDistance", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"):
        yield module(name, (MATRIX, MATRIX))
    yield module("KLDivLoss", (MATRIX, MATRIX), reduction="batchmean")
    for name in ("BCELoss", "BCEWithLogitsLoss", "PoissonNLLLoss"):
        yield module(name, (MATRIX, MATRIX))
    for name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"):
        yield module(name, (MATRIX, LABELS))
    yield module("TripletMarginLoss", (MATRIX, MATRIX, MATRIX))
    for name in ("LSTM", "GRU", "RNN"):
        yield module(name, (BATCH,), 4, 5)
    for name in ("GRUCell", "RNNCell", "LSTMCell"):
        yield module(name, (MATRIX,), 4, 5)
