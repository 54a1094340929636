"""Which operations a GPU treats in its own way: those that make the host wait, that round, that take both devices.

Names as PyTorch's dispatcher has them, without ``aten::``.
"""

from __future__ import annotations

WAITS = frozenset(
    {
        *(
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "equal",
            "is_nonzero",
            "argwhere",
        ),  # a result for the host
        *(
            "_unique2",
            "unique_dim",
            "unique_consecutive",
            "bincount",
            "repeat_interleave",
        ),  # a size that depends on data
        *("histc", "multinomial", "_linalg_svd", "_linalg_eigh", "_linalg_check_errors"),
    }
)
"""The host waits for the device: the size of the result, or the result itself, is needed there."""

ROUNDED_BY_TF32 = frozenset(
    {
        *("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward", "_convolution"),
        *("mkldnn_rnn_layer", "addbmm", "_scaled_dot_product_flash_attention_for_cpu"),
    }
)
"""Products of float32 numbers, whose factors tensor cores round to eleven bits."""

MAY_MIX = frozenset({"copy_", "_to_copy", "index", "index_put_", "index_put", "_index_put_impl_", "set_"})
"""Operations that take tensors of both kinds."""
