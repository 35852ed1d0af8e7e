"""Bare names of the operations that are no synapses, by what they do to signals."""

from __future__ import annotations

__all__ = [
    "AVERAGES",
    "CREATORS",
    "MOVES",
    "NORMS",
    "QUANTIZERS",
    "QUERIES",
    "RECTIFIERS",
    "SCALES",
    "SELECTS",
    "SOMAS",
    "SUMS",
    "VIEWS",
]

#: Questions about values or shapes.
QUERIES = (
    "size", "dim", "numel", "item", "_local_scalar_dense", "is_same_size", "equal", "allclose",
    "is_nonzero", "is_floating_point", "stride", "storage_offset", "data_ptr", "is_contiguous",
    "__len__", "record_stream", "argmax", "argmin", "isnan", "any", "all", "count_nonzero", "nonzero",
    "argsort", "_assert_async", "is_complex", "ndimension", "type", "get_device",
    "sym_size", "_has_compatible_shallow_copy_type",
)  # fmt: skip

#: They share the storage of their input.
VIEWS = (
    "view", "_unsafe_view", "_reshape_alias", "t", "transpose", "permute", "expand", "expand_as",
    "squeeze", "unsqueeze", "select", "slice", "split", "split_with_sizes", "chunk", "unbind",
    "unflatten", "movedim", "narrow", "detach", "alias", "as_strided", "diagonal", "unfold", "view_as",
    "swapaxes", "swapdims", "tensor_split", "requires_grad", "mT", "T",
)  # fmt: skip

#: Values are rearranged, copied or put side by side.
MOVES = (
    "clone", "contiguous", "_to_copy", "to", "float", "double", "half", "bfloat16", "type_as", "cat",
    "concat", "concatenate", "stack", "reshape", "flatten", "index_select", "gather", "index", "roll",
    "flip", "repeat", "repeat_interleave", "constant_pad_nd", "pad", "masked_fill", "im2col", "unfold",
    "pixel_shuffle", "pixel_unshuffle", "native_channel_shuffle", "channel_shuffle",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d",
    "__getitem__", "take_along_dim", "hstack", "vstack", "tile", "dropout", "feature_dropout",
    "identity", "cpu", "cuda",
)  # fmt: skip

#: Means, sums over axes and interpolation.
AVERAGES = (
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum",
    "upsample_bilinear2d", "upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "interpolate",
)  # fmt: skip

#: Max-pooling.
SELECTS = tuple(
    f"{name}_pool{axes}d{end}"
    for name in ("max", "adaptive_max")
    for axes in (1, 2, 3)
    for end in ("", "_with_indices")
)

#: Values times a factor.
SCALES = (
    "mul", "multiply", "div", "true_divide", "neg", "negative",
)  # fmt: skip

#: Sums of two.
SUMS = (
    "add", "sub", "rsub", "subtract",
)  # fmt: skip

#: Batch normalisation.
NORMS = (
    "batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm",
    "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_impl_index",
    "_batch_norm_no_update",
)  # fmt: skip

#: Identity on what is not negative.
RECTIFIERS = (
    "relu", "relu6", "hardtanh", "clamp_min",
)  # fmt: skip

#: Values that do not depend on the input.
CREATORS = (
    "empty", "empty_like", "empty_strided", "zeros", "zeros_like", "ones", "ones_like", "full",
    "full_like", "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "arange",
    "linspace", "eye", "zero", "fill", "scalar_tensor", "tensor", "_efficientzerotensor",
    "hann_window", "new_tensor", "lift_fresh", "lift_fresh_copy",
)  # fmt: skip

#: Fake quantization.
QUANTIZERS = (
    "fake_quantize_per_tensor_affine", "fake_quantize_per_tensor_affine_cachemask",
    "fake_quantize_per_channel_affine", "fake_quantize_per_channel_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "_fused_moving_avg_obs_fq_helper",
    "fused_moving_avg_obs_fake_quant",
)  # fmt: skip

#: Functions of values: normalisations, non-linearities, random numbers, comparisons.
SOMAS = (
    "softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "layer_norm", "native_layer_norm",
    "group_norm", "native_group_norm", "instance_norm", "rms_norm", "_fused_rms_norm", "gelu", "silu",
    "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "selu", "prelu",
    "_prelu_kernel", "softplus", "mish", "exp", "log", "sqrt", "rsqrt", "pow", "abs", "floor", "round",
    "ceil", "sign", "where", "clamp", "clamp_max", "maximum", "minimum", "max", "min", "amax", "amin",
    "var", "std", "var_mean", "norm", "linalg_vector_norm", "normalize", "cumsum", "rand", "randn",
    "rand_like", "randn_like", "bernoulli", "uniform", "normal", "randperm", "randint",
    "native_dropout", "sort", "topk", "embedding", "prod", "logsumexp", "scatter", "scatter_add",
    "index_put", "index_add", "_index_put_impl", "index_fill", "local_response_norm", "grid_sampler",
    "grid_sampler_2d", "grid_sample", "tril", "triu", "masked_select", "aminmax", "logaddexp", "erf",
    "cos", "sin", "nms", "roi_align", "unique_consecutive", "_unique2", "bitwise_and", "bitwise_or",
    "remainder", "frac", "trunc", "reciprocal", "square", "addcmul", "addcdiv", "lerp", "eq", "ne",
    "gt", "ge",
    "lt", "le", "logical_and", "logical_or", "logical_not", "__and__", "__or__", "bool", "int", "long",
    "celu", "glu", "histc", "bincount", "searchsorted", "bucketize",
)  # fmt: skip
