"""What is allocated for a plan: the tensors of the model, each once."""

from transformers import AutoConfig

from profkit.models.allocate import without_values
from profkit.models.shape import ModelShape

TINY = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64,
}  # fmt: skip


def test_tied_weights_are_allocated_once():
    config = AutoConfig.for_model("gemma3_text", **TINY)
    model = without_values(config, "bf16", "cpu")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())
    assert sum(parameter.nbytes for parameter in model.parameters()) == 2 * ModelShape.of(config).parameters


def test_untied_weights_stay_apart():
    model = without_values(AutoConfig.for_model("llama", **TINY, tie_word_embeddings=False), "bf16", "cpu")
    assert model.get_input_embeddings().weight is not model.get_output_embeddings().weight
