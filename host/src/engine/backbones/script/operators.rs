//! The operators of libtorch that a network from a file may call, and the names that it may call nothing else.
//!
//! On the list is what networks compute features with: arithmetic, convolutions, pooling, normalisation, attention, recurrent
//! cells, shapes and indices, lists and texts. Each of them works on its arguments alone: none opens a file, loads or
//! saves, starts a thread, reaches another process or Python, or looks at memory without knowing its bounds. Left out on
//! purpose are `from_file`, `save`, `set_`, `as_strided`, `resize_`, and everything sparse, quantised or
//! distributed. What nobody has needed yet is left out, too.

/// Operators behind `torch.`, which are those that libtorch calls `aten`.
#[rustfmt::skip]
pub const ATEN: [&str; 478] = [
    "__and__", "__contains__", "__derive_index", "__getitem__", "__interpolate", "__is__", "__isnot__",
    "__not__", "__or__", "__range_length", "__round_to_zero_floordiv", "__upsample", "__upsample_bilinear",
    "__upsample_nearest", "__xor__", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_convolution",
    "_convolution_mode", "_log_softmax", "_native_batch_norm_legit_no_training",
    "_native_multi_head_attention", "_scaled_dot_product_attention_math", "_set_item", "_shape_as_tensor",
    "_softmax", "_transformer_encoder_layer_fwd", "_unsafe_view", "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa", "_upsample_nearest_exact2d", "_weight_norm", "abs", "abs_", "absolute",
    "acos", "acosh", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "add", "add_", "addbmm", "addcdiv",
    "addcdiv_", "addcmul", "addcmul_", "addmm", "addmm_", "addmv", "alias", "all", "allclose",
    "alpha_dropout", "amax", "amin", "aminmax", "angle", "any", "append", "arange", "arccos", "arcsin",
    "arctan", "arctan2", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atan2", "atanh",
    "atleast_1d", "atleast_2d", "atleast_3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "baddbmm",
    "baddbmm_", "batch_norm", "bernoulli_", "bilinear", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "bmm", "broadcast_tensors", "broadcast_to", "bucketize", "cat", "cdist", "ceil", "ceil_",
    "celu", "celu_", "channel_shuffle", "chunk", "clamp", "clamp_", "clamp_max", "clamp_max_", "clamp_min",
    "clamp_min_", "clear", "clip", "clip_", "clone", "col2im", "column_stack", "concat", "concatenate",
    "conj", "constant_pad_nd", "contiguous", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "convolution", "copy", "copy_", "copysign", "cos", "cosh",
    "cosine_similarity", "cross", "cummax", "cummin", "cumprod", "cumsum", "deg2rad", "detach", "detach_",
    "device", "diag", "diag_embed", "diagonal", "dict", "diff", "dim", "div", "div_", "divide", "dot",
    "dropout", "dropout_", "dsplit", "dstack", "einsum", "element_size", "elu", "elu_", "embedding",
    "empty", "empty_like", "endswith", "eq", "eq_", "equal", "erf", "erf_", "erfc", "exp", "exp2", "exp_",
    "expand", "expand_as", "expm1", "expm1_", "extend", "eye", "feature_alpha_dropout", "feature_dropout",
    "fill", "fill_", "find", "flatten", "flip", "fliplr", "flipud", "floor", "floor_", "floor_divide",
    "floordiv", "fmax", "fmin", "fmod", "format", "frac", "frobenius_norm", "full", "full_like", "gather",
    "ge", "ge_", "gelu", "gelu_", "get", "glu", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d",
    "group_norm", "gru", "gru_cell", "gt", "gt_", "hardshrink", "hardsigmoid", "hardsigmoid_", "hardswish",
    "hardswish_", "hardtanh", "hardtanh_", "hsplit", "hstack", "hypot", "im2col", "index", "index_add",
    "index_copy", "index_fill", "index_select", "insert", "instance_norm", "inverse", "is_autocast_enabled",
    "is_complex", "is_contiguous", "is_floating_point", "is_grad_enabled", "is_nonzero", "is_same_size",
    "is_scripting", "isclose", "isfinite", "isinf", "isnan", "item", "items", "keys", "kthvalue",
    "layer_norm", "le", "le_", "leaky_relu", "leaky_relu_", "len", "lerp", "linalg_cross", "linalg_matmul",
    "linalg_norm", "linalg_vector_norm", "linear", "linspace", "list", "log", "log10", "log1p", "log2",
    "log_", "log_sigmoid", "log_softmax", "logaddexp", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logit", "logspace", "logsumexp", "lower", "lstm", "lstm_cell", "lt", "lt_",
    "masked_fill", "masked_fill_", "masked_scatter", "masked_select", "matmul", "max", "max_pool1d",
    "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "maximum", "mean",
    "median", "meshgrid", "min", "minimum", "mish", "mish_", "mm", "mode", "moveaxis", "movedim", "mul",
    "mul_", "multiply", "multiply_", "mv", "nan_to_num", "nan_to_num_", "narrow", "native_batch_norm",
    "native_group_norm", "native_layer_norm", "ne", "ne_", "neg", "neg_", "negative", "new_empty",
    "new_full", "new_ones", "new_zeros", "nonzero", "nonzero_numpy", "norm", "nuclear_norm", "numel",
    "one_hot", "ones", "ones_like", "outer", "pad", "pairwise_distance", "permute", "pixel_shuffle",
    "pixel_unshuffle", "pop", "pow", "pow_", "prelu", "prod", "quantile", "rad2deg", "ravel", "real",
    "reciprocal", "reciprocal_", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "relu",
    "relu6", "relu6_", "relu_", "remainder", "remainder_", "repeat", "repeat_interleave",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "requires_grad_", "reshape",
    "reshape_as", "resolve_conj", "resolve_neg", "reverse", "rms_norm", "rnn_relu", "rnn_tanh", "roll",
    "rot90", "round", "round_", "rrelu", "rsqrt", "rsqrt_", "rsub", "scalar_tensor",
    "scaled_dot_product_attention", "scatter", "scatter_", "scatter_add", "scatter_add_", "searchsorted",
    "select", "selu", "selu_", "sigmoid", "sigmoid_", "sign", "silu", "silu_", "sin", "sinh", "size",
    "slice", "smooth_l1_loss", "softmax", "softplus", "softshrink", "sort", "split", "split_with_sizes",
    "sqrt", "sqrt_", "square", "square_", "squeeze", "squeeze_", "stack", "startswith", "std", "std_mean",
    "str", "stride", "strip", "sub", "sub_", "subtract", "sum", "sum_to_size", "swapaxes", "swapdims", "t",
    "t_", "take", "take_along_dim", "tan", "tanh", "tanh_", "tensor", "tensor_split", "tensordot",
    "threshold", "threshold_", "tile", "to", "topk", "trace", "transpose", "transpose_", "tril", "triu",
    "true_divide", "trunc", "type_as", "unbind", "unflatten", "unfold", "unsqueeze", "unsqueeze_", "upper",
    "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d", "values", "var", "var_mean", "view",
    "view_as", "vsplit", "vstack", "warn", "where", "xlogy", "zero_", "zeros", "zeros_like",
];

/// Operators behind `ops.`, which have a namespace: those that look at a value, raise an error, or turn a number into a tensor.
#[rustfmt::skip]
pub const NAMESPACED: [&str; 22] = [
    "prim.NumToTensor", "prim.RaiseException", "prim.abs", "prim.data", "prim.device", "prim.dtype",
    "prim.index", "prim.is_cpu", "prim.is_cuda", "prim.is_nested", "prim.is_quantized", "prim.is_sparse",
    "prim.itemsize", "prim.layout", "prim.max", "prim.min", "prim.rangelist", "prim.requires_grad",
    "prim.tolist", "prim.type", "prim.unchecked_cast", "prim.unchecked_unwrap_optional",
];

/// The other operators of `aten` in this libtorch, a name a line. A value's method is looked up among them: no part of a
/// network may have one of these names.
const OTHERS: &str = include_str!("other_operators.txt");

/// Whether a network may call an operator of `aten`.
pub fn is_listed(name: &str) -> bool {
    ATEN.binary_search(&name).is_ok()
}

/// Whether a network may call an operator with a namespace, such as `prim.dtype`.
pub fn is_listed_namespaced(name: &str) -> bool {
    NAMESPACED.binary_search(&name).is_ok()
}

/// Whether libtorch has an operator of `aten` of this name that a network may not call.
pub fn is_other(name: &str) -> bool {
    OTHERS.lines().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_lists_are_sorted_and_name_nothing_twice() {
        assert!(ATEN.is_sorted() && NAMESPACED.is_sorted());
        let others: Vec<&str> = OTHERS.lines().collect();
        assert!(others.is_sorted() && others.len() > 1000);
        let all: BTreeSet<&str> = ATEN.into_iter().chain(others.iter().copied()).collect();
        assert_eq!(all.len(), ATEN.len() + others.len());
    }

    #[test]
    fn nothing_on_the_list_reaches_out() {
        for name in ["from_file", "save", "load", "set_", "as_strided", "resize_", "open", "wait", "rand", "normal_"] {
            assert!(!is_listed(name), "{name}");
        }
        for part in
            ["file", "save", "load", "storage", "pickle", "rpc", "futur", "sparse", "quantize", "cuda", "random"]
        {
            let named: Vec<&&str> = ATEN.iter().filter(|name| name.contains(part)).collect();
            assert!(named.is_empty(), "{named:?}");
        }
    }
}
