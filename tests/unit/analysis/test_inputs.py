"""What an operator was given, in words and back."""

import pytest

from profkit.analysis.inputs import inputs_text, kineto_inputs


@pytest.mark.parametrize(
    ("types", "dims", "text"),
    [
        (["c10::BFloat16", "c10::BFloat16", ""], [[1, 512], [512, 8], []], "[1, 512] bf16, [512, 8] bf16"),
        (["float", "Scalar", "ScalarList"], [[], [], []], "[] f32"),
        (["TensorList", "Scalar"], [[[4, 8], [2]], []], "list of [4, 8], [2]"),
        (["TensorList"], [[]], "list"),
        (["TensorList"], [[[1]] * 9], "list of [1], [1], [1], [1], [1], [1], 3 more"),
        (["c10::SomethingNew"], [[3]], "[3] SomethingNew"),
        ([], [], ""),
    ],
)
def test_tensors_are_named_in_order(types, dims, text):
    assert inputs_text(types, dims) == text


@pytest.mark.parametrize(
    ("types", "dims"),
    [
        (["c10::BFloat16", "long int"], [[1, 512], []]),
        (["TensorList", "float"], [[[4, 8], [2]], [3]]),
        (["float", "TensorList", "TensorList"], [[7], [], [[1]]]),
        ([], []),
    ],
)
def test_the_words_say_enough_to_write_kinetos_again(types, dims):
    assert kineto_inputs(inputs_text(types, dims)) == (types, dims)
