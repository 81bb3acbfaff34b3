"""The shape that is read from a config against the model that transformers builds from it."""

from __future__ import annotations

import json
import re

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D
from unit.models.tiny import CONFIGS, config_dict, config_of, model_of

from profkit.errors import ProfkitError
from profkit.models.shape import LayerKind, ModelShape


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_built_model(name):
    weights = ModelShape.of(config_dict(name)).weights
    assert weights.reason is None
    assert weights.parameters == sum(p.numel() for p in model_of(name).parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_matrices_are_those_of_the_built_decoder(name):
    """Every matrix that tokens are multiplied with, by the modules of the model: none left out, none twice."""
    model = model_of(name)
    decoder = model.get_decoder() if model.config.is_encoder_decoder else model
    counted = {id(model.get_output_embeddings().weight): model.get_output_embeddings().weight}
    for path, module in decoder.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            routed = path.endswith("experts") and parameter.dim() == 3
            if routed or (isinstance(module, nn.Linear | Conv1D | nn.Conv1d) and kind == "weight") or _router(module):
                counted.update({id(parameter): parameter} if parameter.dim() > 1 else {})
    assert ModelShape.of(config_dict(name)).matrices == sum(p.numel() for p in counted.values())


def _router(module):
    return "router" in type(module).__name__.lower()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_dict_a_config_a_model_and_a_file_give_the_same_shape(name, tmp_path):
    config = config_of(name)
    config.save_pretrained(tmp_path)
    shape = ModelShape.of(config_dict(name))
    assert ModelShape.of(config) == shape
    assert ModelShape.of(config.to_dict()) == shape
    assert ModelShape.of(str(tmp_path)) == shape
    assert ModelShape.of(tmp_path / "config.json") == shape


def test_layers_are_grouped_by_kind():
    shape = ModelShape.of(config_dict("gemma3_text"))
    assert [(group.kind, group.count, group.window) for group in shape.layers] == [
        (LayerKind.SLIDING, 6, 8),
        (LayerKind.FULL, 1, None),
    ]
    assert shape.layer_count == 7


@pytest.mark.parametrize("name", ["llama", "gpt2", "whisper", "deepseek_v3", "qwen3_moe"])
def test_a_missing_size_is_named_with_its_model_type(name):
    whole = config_dict(name)
    sizes = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
    written = ("vocab_size", "num_hidden_layers", "n_layer", "n_embd", "d_model", "decoder_layers", "kv_lora_rank")
    for field in (field for field in written if field in whole):
        without = {key: value for key, value in whole.items() if key != field}
        with pytest.raises(ProfkitError, match=f"this '{name}' model has no {sizes.get(field, field)}"):
            ModelShape.of(without)


def test_head_dim_is_never_derived_where_it_is_given():
    (group,) = ModelShape.of(config_dict("llama, head_dim given")).layers
    assert group.head_dim == 20
    (group,) = ModelShape.of(config_dict("llama")).layers
    assert group.head_dim == 8


def test_layers_that_share_a_cache_keep_nothing_and_still_attend():
    shape = ModelShape.of(config_dict("gemma4_text"))
    shared = [(g.count, g.window, g.cached_elements) for g in shape.layers if g.kind is LayerKind.SHARED]
    assert shared == [(1, 8, 0), (1, None, 0)]
    without = {key: value for key, value in config_dict("gemma4_text").items() if key != "global_head_dim"}
    with pytest.raises(ProfkitError, match="has no global_head_dim"):
        ModelShape.of(without)


def test_gemma_3_leaves_sizes_to_its_class():
    published = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    shape = ModelShape.of({**published, "sliding_window": 1024})
    assert [(group.kind, group.count) for group in shape.layers] == [(LayerKind.SLIDING, 29), (LayerKind.FULL, 5)]
    assert {group.head_dim for group in shape.layers} == {256}


def test_the_text_model_of_one_with_images_is_read_and_all_its_weights_are_counted():
    text = config_dict("gemma3_text")
    shape = ModelShape.of({"model_type": "gemma3", "text_config": text, "vision_config": _VISION})
    assert shape.layers == ModelShape.of(text).layers
    assert shape.parameters > ModelShape.of(text).parameters


_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.mark.parametrize("model_type", ["mamba", "bert", "llamma"])
def test_an_unknown_architecture_is_not_guessed(model_type):
    with pytest.raises(ProfkitError, match=f"the architecture '{model_type}' is unknown to profkit"):
        ModelShape.of({**config_dict("llama"), "model_type": model_type})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0: not a size"),
        ({"num_hidden_layers": "four"}, "transformers refuses the config of this 'llama' model"),
        ({"model_type": None}, "the config has no model_type"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, says):
    with pytest.raises(ProfkitError, match=re.escape(says)):
        ModelShape.of({**config_dict("llama"), **wrong})


def test_files_that_hold_no_config_say_so(tmp_path):
    with pytest.raises(ProfkitError, match="nothing is downloaded by name"):
        ModelShape.of("meta-llama/Llama-3.1-8B")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ProfkitError, match="is not JSON"):
        ModelShape.of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ProfkitError, match="holds a list"):
        ModelShape.of(tmp_path)
    with pytest.raises(ProfkitError, match="int is no model config"):
        ModelShape.of(3)
