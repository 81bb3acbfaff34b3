"""A tiny config of every family that profkit knows, small enough to run on a CPU in a blink."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_BASE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MLA = {
    "kv_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 20,
    "moe_intermediate_size": 24,
    "num_experts_per_tok": 2,
    "n_routed_experts": 8,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
_QWEN_MOE = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
    "mlp_only_layers": [1],
}

_GEMMA4 = {
    "head_dim": 16,
    "global_head_dim": 24,
    "sliding_window": 8,
    "num_hidden_layers": 5,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 12,
    "vocab_size_per_layer_input": 96,
}

# What differs from `_BASE`, by a name that says what is tested; "model_type" where it is another.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, MHA": {"model_type": "llama", "num_key_value_heads": None},
    "llama, head_dim given": {"model_type": "llama", "head_dim": 20},
    "llama, biased and tied": {"model_type": "llama", "attention_bias": True, "tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
    "mistral, no window": {"model_type": "mistral", "sliding_window": None},
    "ministral": {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "qwen2": {},
    "qwen2, window in upper layers": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 3,
    },
    "qwen3": {"head_dim": 16},
    "phi3": {"sliding_window": 10},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 8},
    "gemma3_text": {"head_dim": 16, "sliding_window": 8, "num_hidden_layers": 7},
    "gemma4_text": _GEMMA4,
    "gemma4_text, keys as values, experts": {
        **_GEMMA4,
        "model_type": "gemma4_text",
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 0,
        "enable_moe_block": True,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 24,
    },
    "olmo2": {},
    "granite": {},
    "smollm3": {},
    "starcoder2": {},
    "gpt2": {"n_inner": 40},
    "gpt_neox": {},
    "opt": {"ffn_dim": 40, "word_embed_proj_dim": 32},
    "opt, narrow embedding": {"model_type": "opt", "ffn_dim": 40, "word_embed_proj_dim": 16},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 8},
    "qwen2_moe": _QWEN_MOE,
    "qwen3_moe": {**_QWEN_MOE, "head_dim": 16, "decoder_sparse_step": 2},
    "qwen3_next": {
        **_QWEN_MOE,
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 6,
        "linear_conv_kernel_dim": 4,
    },
    "deepseek_v2": {**_MLA, "q_lora_rank": None, "topk_method": "greedy"},
    "deepseek_v3": {**_MLA, "q_lora_rank": 16},
    "whisper": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 48,
        "max_source_positions": 20,
        "max_target_positions": 64,
        "decoder_start_token_id": 1,
        "num_mel_bins": 8,
    },
    "t5": {"d_model": 32, "d_kv": 12, "d_ff": 40, "num_layers": 2, "num_heads": 4},
    "t5, gated": {
        "model_type": "t5",
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 40,
        "num_layers": 3,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
    },
}
_OWN_SIZES = ("whisper", "t5")
ENCODER_DECODERS = [name for name in CONFIGS if name.split(",")[0] in _OWN_SIZES]
DECODERS = [name for name in CONFIGS if name not in ENCODER_DECODERS]


def config_dict(name: str) -> dict[str, Any]:
    """The config of a name in `CONFIGS` as a config.json would have it."""
    own = CONFIGS[name]
    model_type = own.get("model_type", name)
    small = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
    base = {key: _BASE[key] for key in small} if model_type in _OWN_SIZES else _BASE
    renamed = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
    if model_type == "gpt2":
        base = {renamed.get(key, key): value for key, value in base.items() if key != "intermediate_size"}
    return {**base, **own, "model_type": model_type}


def config_of(name: str) -> Any:
    """The transformers config."""
    given = config_dict(name)
    return transformers.CONFIG_MAPPING[given["model_type"]].from_dict(given)


def model_of(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The model with random weights, on the CPU, with attention that `FlopCounterMode` can count."""
    config = config_of(name)
    auto = transformers.AutoModelForCausalLM
    if config.is_encoder_decoder:
        auto = transformers.AutoModelForSeq2SeqLM
        if config.model_type == "whisper":
            auto = transformers.AutoModelForSpeechSeq2Seq
    torch.manual_seed(0)
    return auto.from_config(config, dtype=dtype, attn_implementation="eager").eval()
