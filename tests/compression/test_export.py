import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.export import quantize_rows


@given(arrays(np.float32, (4, 6), elements=st.floats(-100, 100, width=32)))
@settings(deadline=None)
def test_quantized_rows_are_within_half_a_step(table: np.ndarray) -> None:
    steps, scales = quantize_rows(table)
    assert steps.dtype == np.int8
    assert np.all(np.abs(steps * scales - table) <= 0.5001 * scales + 1e-30)
