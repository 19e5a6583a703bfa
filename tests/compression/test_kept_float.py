import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.encoders import build_encoder
from compression.export import export_decoder, export_encoder
from compression.kept_float import kept_float
from compression.settings.quantization import Format
from tests.compression.test_decoder_quantization import decoder_of_real_proportions
from tests.compression.test_export import Export, captioner_of, exported, random_features, relative_error, steps_of
from tests.models.decoder_contract import tiny_decoder

__all__ = ["exported"]  # a fixture


_CONVOLUTION = schema.BuiltinOperator.CONV_2D


def float_matrices(graph: bytes) -> set[tuple[int, ...]]:
    """Shapes [out, in] of the float matrices of a graph's products that are large enough to be quantized."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    tensors = model.subgraphs[0].tensors
    weights = [
        tensors[operator.inputs[1]]
        for operator in model.subgraphs[0].operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED
    ]
    return {
        tuple(map(int, tensor.shape))
        for tensor in weights
        if tensor.type == schema.TensorType.FLOAT32 and np.prod(tensor.shape) >= 1024
    }


def captioner() -> CaptioningModel:
    return captioner_of(decoder_of_real_proportions("lstm"))


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["dynamic", "int8"])
def test_named_layers_stay_in_float(chosen: Format) -> None:
    model = captioner()
    kept = kept_float(model, ["gates_from_h", "decoder/embedding"])["decoder"]
    features = list(random_features(2))
    _, step = export_decoder(model, chosen, features, kept, max_tokens=3)
    assert float_matrices(step) == {(256, 64), (60, 32)}  # gates_from_h and the tied output layer
    _, without = export_decoder(model, chosen, features, max_tokens=3)
    assert float_matrices(without) == set()


@pytest.mark.slow
def test_a_layer_whose_name_ends_like_anothers_stays_in_float_alone() -> None:
    config = EncoderConfig("mobilenet_v3_small", image_size=(32, 32))
    model = CaptioningModel(build_encoder(config), tiny_decoder("merge"))
    usual = float_kernels(export_encoder(model, chosen="dynamic"))  # too small to be quantized
    for layer in ("Conv", "expanded_conv_3/squeeze_excite/Conv"):
        kept = kept_float(model, [f"encoder/{layer}/kernel"])["encoder"]
        found = float_kernels(export_encoder(model, chosen="dynamic", kept=kept))
        assert found - usual == {f"mobilenet_v3_small/{layer}/Conv2D"} - usual
        assert f"mobilenet_v3_small/{layer}/Conv2D" in found


def float_kernels(graph: bytes) -> set[str]:
    """Names of a graph's float convolutions."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    kinds = [code.builtinCode for code in model.operatorCodes]
    convolutions = [each for each in model.subgraphs[0].operators if kinds[each.opcodeIndex] == _CONVOLUTION]
    kernels = [model.subgraphs[0].tensors[each.inputs[1]] for each in convolutions]
    return {kernel.name.decode() for kernel in kernels if kernel.type == schema.TensorType.FLOAT32}


@pytest.mark.slow
def test_with_all_layers_kept_nothing_is_rounded(exported: Export) -> None:
    model = captioner()
    features, tokens = random_features(2), np.array([[[1, 7, 9]], [[1, 5, 20]]], np.int32)
    runtime = exported(model.decoder, "dynamic", kept=kept_float(model, ["decoder/"])["decoder"])
    expected = steps_of(DecoderFunctions(model.decoder), features, tokens)
    assert relative_error(steps_of(runtime, features, tokens), expected) < 1e-5


def test_a_name_that_fits_no_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="'gates_form_h'"):
        kept_float(captioner(), ["gates_form_h"])


@pytest.mark.parametrize("chosen", ["int16x8", "float16"])
def test_a_format_for_all_layers_can_keep_none(chosen: Format) -> None:
    model = captioner()
    with pytest.raises(UsageError, match=f"in format {chosen}"):
        export_decoder(model, chosen, list(random_features(2)), kept_float(model, ["query"])["decoder"])
