"""The KV cache of real models: what is measured equals what the architecture says, to the byte."""

import gc
import threading
import weakref

import pytest
import torch
import transformers
from unit.models.tiny import DECODERS, ENCODER_DECODERS, model_of

import profkit
from profkit.analysis.kv import kv_growth
from profkit.capture.clock import Clock
from profkit.capture.kvcache import KVRecorder
from profkit.models.shape import ModelShape
from profkit.models.shape_costs import kv_bytes
from profkit.record import HOST, KV

BATCH, PROMPT, NEW = 2, 20, 4
HELD = tuple(range(PROMPT, PROMPT + NEW))  # tokens in the cache after each step
LAYERS, HEADS, KV_HEADS, WIDTH, WINDOW = 4, 4, 2, 16, 8
FLOAT = 4  # bytes
SIZE = {
    "vocab_size": 128,
    "hidden_size": HEADS * WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
TOKEN = 2 * KV_HEADS * WIDTH * FLOAT  # keys and values of a token in one layer
GREEDY = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
HYBRID = {"head_dim": WIDTH, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}


def llama(**changes):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE | changes)).eval()


def mistral():
    return transformers.MistralForCausalLM(transformers.MistralConfig(**SIZE, sliding_window=WINDOW)).eval()


def gemma2():
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**SIZE, **HYBRID)).eval()


def prompt(batch=BATCH, tokens=PROMPT):
    return torch.randint(3, 90, (batch, tokens), generator=torch.Generator().manual_seed(0))


def measured(model, work):
    """The Run of `work`, profiled without a trace."""
    with profkit.profile("kv", model=model, trace=False) as session:
        work()
    return session.run


def generated(model, inputs=None, **options):
    inputs = {"input_ids": prompt()} if inputs is None else inputs
    return measured(model, lambda: model.generate(**inputs, **GREEDY | options))


def column(run, name, kind):
    """A column of `kv` for one kind of layer; None where it is absent."""
    rows = run.kv[run.kv["layer_kind"] == kind]
    return tuple(
        None if value is None else int(value) for value in rows[name].astype(object).where(rows[name].notna(), None)
    )


def predicted(model, tokens, batch=BATCH, **options):
    """What the architecture says that the cache takes, by kind."""
    return kv_bytes(ModelShape.of(model), tokens, batch, kv_dtype="fp32", **options)


@pytest.mark.parametrize("name", DECODERS)
def test_every_known_architecture_is_measured_as_predicted(name):
    model = model_of(name)
    run = generated(model)
    for step, rows in run.kv.groupby("step"):
        by_kind = dict(zip(rows["layer_kind"], rows["logical_bytes"], strict=True))
        assert by_kind == {kind: size for kind, size in predicted(model, HELD[step]).items() if kind != "shared"}
    growth = kv_growth(run.record)
    assert growth.deviation in (0, None)
    assert growth.formula_missing is None
    for kind in growth.kinds:
        told = run.meta.kv_formula[kind.layer_kind]
        assert told["layers"] == kind.layers
        assert kind.deviation in (0, None)
        if kind.window is not None:
            assert kind.window == max(column(run, "tokens", kind.layer_kind))
        if kind.layer_kind == "linear":
            assert kind.logical_bytes == BATCH * told["fixed_bytes"]


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_are_measured_as_predicted(name):
    model = model_of(name)
    if name == "whisper":
        sound = torch.randn(BATCH, model.config.num_mel_bins, 2 * model.config.max_source_positions)
        run, source = generated(model, {"input_features": sound}), model.config.max_source_positions
    else:
        run, source = generated(model), PROMPT
    for _, rows in run.kv.groupby("step"):
        by_kind = dict(zip(rows["layer_kind"], rows["logical_bytes"], strict=True))
        (held,) = rows.loc[rows["layer_kind"] == "full", "tokens"]
        assert by_kind == predicted(model, int(held), source_tokens=source)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3", "ministral"])
def test_a_static_cache_has_the_predicted_room(name):
    model, room = model_of(name), PROMPT + NEW - 1
    run = generated(model, cache_implementation="static", disable_compile=True)
    for _, rows in run.kv.groupby("step"):
        by_kind = dict(zip(rows["layer_kind"], rows["capacity_bytes"], strict=True))
        assert by_kind == predicted(model, 0, static=room)
    assert kv_growth(run.record).deviation == 0


def test_what_an_unknown_architecture_costs_is_not_guessed():
    class Other(transformers.LlamaConfig):
        model_type = "other"

    model = llama()
    model.config = Other(**SIZE)
    run = generated(model)
    assert run.meta.kv_formula == {}
    assert "other" in run.meta.not_measured["kv_formula"]
    assert kv_growth(run.record).bytes_per_token == LAYERS * TOKEN


def test_two_models_have_no_formula_in_common():
    first, second = llama(), llama()
    run = measured([first, second], lambda: (first(prompt()), second(prompt())))
    assert run.meta.not_measured["kv_formula"] == "2 models ran steps"


def kinds(run):
    return set(run.kv["layer_kind"])


def test_a_dynamic_cache_grows_by_its_tokens():
    run = generated(llama())
    assert kinds(run) == {"full"}
    assert tuple(run.kv["step"]) == tuple(range(NEW))
    assert column(run, "tokens", "full") == HELD
    assert set(column(run, "layers", "full")) == {LAYERS}
    assert set(column(run, "sequences", "full")) == {BATCH}
    size = tuple(LAYERS * BATCH * tokens * TOKEN for tokens in HELD)
    assert [column(run, f"{what}_bytes", "full") for what in ("logical", "capacity", "storage")] == [size] * 3
    assert set(run.kv["device"]) == {HOST}
    assert "kv" not in run.meta.not_measured
    assert run.kv["allocated"].isna().all(), "no GPU: no state of its allocator"


def test_sizes_count_the_elements_type():
    run = generated(llama().to(torch.bfloat16))
    assert column(run, "logical_bytes", "full") == tuple(LAYERS * BATCH * tokens * TOKEN // 2 for tokens in HELD)


def test_a_static_cache_holds_more_than_its_tokens():
    run = generated(llama(), cache_implementation="static", disable_compile=True)
    assert column(run, "tokens", "full") == HELD
    assert column(run, "logical_bytes", "full") == tuple(LAYERS * BATCH * tokens * TOKEN for tokens in HELD)
    room = LAYERS * BATCH * (PROMPT + NEW - 1) * TOKEN  # the last token is never put into the cache
    assert set(column(run, "capacity_bytes", "full")) == {room}
    assert set(column(run, "storage_bytes", "full")) == {room}


def test_a_sliding_window_is_a_view_that_pins_the_prompt():
    run = generated(mistral())
    assert column(run, "tokens", "sliding") == (WINDOW - 1,) * NEW
    assert set(column(run, "logical_bytes", "sliding")) == {LAYERS * BATCH * (WINDOW - 1) * TOKEN}
    pinned, *after = column(run, "storage_bytes", "sliding")
    assert pinned == LAYERS * BATCH * PROMPT * TOKEN
    assert set(after) == {LAYERS * BATCH * WINDOW * TOKEN}


def test_a_static_sliding_window_has_room_for_the_whole_window():
    run = generated(mistral(), cache_implementation="static", disable_compile=True)
    assert set(column(run, "logical_bytes", "sliding")) == {LAYERS * BATCH * WINDOW * TOKEN}


def test_a_short_prompt_does_not_fill_a_window():
    run = generated(mistral(), {"input_ids": prompt(tokens=3)})
    assert column(run, "tokens", "sliding") == (3, 4, 5, 6)


def test_hybrid_layers_are_two_kinds():
    run = generated(gemma2())
    half = LAYERS // 2
    assert column(run, "logical_bytes", "full") == tuple(half * BATCH * tokens * TOKEN for tokens in HELD)
    assert set(column(run, "logical_bytes", "sliding")) == {half * BATCH * (WINDOW - 1) * TOKEN}
    assert set(column(run, "layers", "full")) == set(column(run, "layers", "sliding")) == {half}


def test_layers_that_share_keys_and_values_hold_none():
    shape = SIZE | HYBRID | {"num_hidden_layers": 6, "layer_types": ["sliding_attention", "full_attention"] * 3}
    small = {"hidden_size_per_layer_input": 8, "laurel_rank": 8, "vocab_size_per_layer_input": 128}
    config = transformers.Gemma3nTextConfig(
        **shape, **small, num_kv_shared_layers=2, activation_sparsity_pattern=[0.0] * 6
    )
    run = generated(transformers.Gemma3nForCausalLM(config).eval())
    assert column(run, "logical_bytes", "full") == tuple(2 * BATCH * tokens * TOKEN for tokens in HELD)
    assert set(column(run, "layers", "sliding")) == {2}, "of six layers two share"


def test_latent_attention_is_cached_compressed():
    rank, rope = 24, 8
    shape = SIZE | {"num_key_value_heads": HEADS}
    config = transformers.DeepseekV3Config(
        **shape,
        kv_lora_rank=rank,
        q_lora_rank=16,
        qk_rope_head_dim=rope,
        qk_nope_head_dim=8,
        v_head_dim=16,
        first_k_dense_replace=LAYERS,
    )
    run = generated(transformers.DeepseekV3ForCausalLM(config).eval())
    assert kinds(run) == {"mla"}
    each = LAYERS * BATCH * (rank + rope) * FLOAT
    assert column(run, "logical_bytes", "mla") == tuple(each * tokens for tokens in HELD)


def test_linear_attention_keeps_states_that_do_not_grow():
    heads_k, heads_v, width_k, width_v, kernel = 2, 4, 8, 8, 4
    config = transformers.Qwen3NextConfig(
        **SIZE,
        head_dim=WIDTH,
        linear_num_key_heads=heads_k,
        linear_num_value_heads=heads_v,
        linear_key_head_dim=width_k,
        linear_value_head_dim=width_v,
        linear_conv_kernel_dim=kernel,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    run = generated(transformers.Qwen3NextForCausalLM(config).eval())
    convolution = BATCH * (2 * heads_k * width_k + heads_v * width_v) * kernel * FLOAT
    recurrent = BATCH * heads_v * width_k * width_v * FLOAT
    assert column(run, "logical_bytes", "linear") == (3 * (convolution + recurrent),) * NEW
    assert column(run, "tokens", "linear") == (None,) * NEW
    assert column(run, "logical_bytes", "full") == tuple(BATCH * tokens * TOKEN for tokens in HELD)


def test_whisper_has_its_own_tokens_and_those_of_the_audio():
    heads, width, layers, frames = 2, 32, 2, 50
    config = transformers.WhisperConfig(
        vocab_size=128,
        d_model=width,
        encoder_layers=1,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=frames,
        max_target_positions=40,
        num_mel_bins=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()

    def work():
        # Whisper's own `generate` wants a tokenizer's settings.
        encoded = model.get_encoder()(torch.randn(BATCH, 8, 2 * frames))
        out = model(encoder_outputs=encoded, decoder_input_ids=torch.full((BATCH, 1), 3))
        model(encoder_outputs=encoded, decoder_input_ids=torch.full((BATCH, 1), 4), past_key_values=out.past_key_values)

    run = measured(model, work)
    token = 2 * layers * BATCH * width * FLOAT
    assert column(run, "logical_bytes", "full") == (token, 2 * token)
    assert column(run, "logical_bytes", "cross") == (frames * token,) * 2
    assert column(run, "tokens", "cross") == (frames,) * 2


@pytest.mark.parametrize("static", [False, True])
def test_an_encoder_decoder_generates(static):
    heads, width, layers = 4, 8, 2
    config = transformers.T5Config(
        vocab_size=128, d_model=32, d_kv=width, d_ff=32, num_layers=layers, num_heads=heads, decoder_start_token_id=0
    )
    options = {"cache_implementation": "static", "disable_compile": True} if static else {}
    run = generated(transformers.T5ForConditionalGeneration(config).eval(), **options)
    token = 2 * layers * BATCH * heads * width * FLOAT
    assert column(run, "logical_bytes", "full") == tuple(token * held for held in (1, 2, 3, 4))
    assert column(run, "logical_bytes", "cross") == (PROMPT * token,) * 4


@pytest.mark.parametrize("backend", ["fp8", "quanto", "hqq"])
def test_quantized_layers_count_data_scales_and_the_rest_in_full_precision(backend):
    if backend == "fp8" and not hasattr(transformers.cache_utils, "Fp8QuantizedLayer"):
        pytest.skip("this transformers has no fp8 cache")
    if backend != "fp8":
        pytest.importorskip("optimum.quanto" if backend == "quanto" else backend)
    run = generated(llama(), cache_implementation="quantized", cache_config={"backend": backend})
    assert column(run, "tokens", "quantized") == HELD
    sizes = column(run, "logical_bytes", "quantized")
    if backend == "fp8":
        scales = LAYERS * 2 * FLOAT  # of keys and of values
        assert sizes == tuple(LAYERS * BATCH * tokens * TOKEN // FLOAT + scales for tokens in HELD)
    else:
        assert sizes[0] < LAYERS * BATCH * PROMPT * TOKEN < sizes[0] * 8
        assert sizes[-1] > sizes[0]


def test_beams_are_rows_of_the_cache():
    run = generated(llama(), num_beams=3)
    assert set(column(run, "sequences", "full")) == {3 * BATCH}
    assert column(run, "logical_bytes", "full") == tuple(LAYERS * 3 * BATCH * tokens * TOKEN for tokens in HELD)


def test_padding_of_the_prompts_is_counted():
    mask = torch.ones(BATCH, PROMPT, dtype=torch.int64)
    mask[0, :5] = 0
    run = generated(llama(), {"input_ids": prompt(), "attention_mask": mask})
    assert set(column(run, "padding_bytes", "full")) == {LAYERS * 5 * TOKEN}
    assert column(generated(llama()), "padding_bytes", "full") == (None,) * NEW, "no mask: not known"


def test_padding_slides_out_of_a_window():
    mask = torch.ones(BATCH, PROMPT, dtype=torch.int64)
    mask[0, : PROMPT - 3] = 0  # of 7 tokens in the window 4 are padding, then 3, 2, 1
    run = generated(mistral(), {"input_ids": prompt(), "attention_mask": mask})
    assert column(run, "padding_bytes", "sliding") == tuple(LAYERS * pad * TOKEN for pad in (4, 3, 2, 1))


def test_continuous_batching_counts_pages_and_the_tokens_in_them():
    page, lengths = 16, (3, 7, 20)
    model = llama()
    config = transformers.GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=0)
    options = _batching(page)

    def work():
        inputs = [[5] * length for length in lengths]
        model.generate_batch(inputs, generation_config=config, continuous_batching_config=options, progress_bar=False)

    run = measured(model, work)
    assert set(run.kv["step"]) == {-1}, "its calls are no steps of one phase"
    held = tuple(sum(lengths) + 3 * made for made in range(NEW))
    assert column(run, "tokens", "full")[:NEW] == held
    assert column(run, "logical_bytes", "full")[:NEW] == tuple(LAYERS * tokens * TOKEN for tokens in held)
    pages = sum(-(-length // page) for length in lengths)
    assert column(run, "capacity_bytes", "full")[0] == LAYERS * pages * page * TOKEN
    assert column(run, "storage_bytes", "full")[0] >= LAYERS * 20 * page * TOKEN, "the pool"
    assert set(column(run, "sequences", "full")) == {3}


def test_the_paged_cache_is_left_as_it_was():
    owner = transformers.generation.continuous_batching.cache.PagedAttentionCache
    before = dict(vars(owner))
    measured(llama(), lambda: None)
    assert dict(vars(owner)) == before


def _batching(page):
    """20 pages; the option's name changed."""
    options = {"num_blocks": 20, "max_batch_tokens": 64}
    try:
        return transformers.ContinuousBatchingConfig(page_size=page, **options)
    except TypeError:
        return transformers.ContinuousBatchingConfig(block_size=page, **options)


@pytest.mark.parametrize("positional", [False, True])
def test_a_forward_with_a_cache_of_ones_own(positional):
    model = llama()
    cache = transformers.DynamicCache()

    def work():
        for tokens in (PROMPT, 1):
            if positional:
                model(prompt(tokens=tokens), None, None, cache)
            else:
                model(prompt(tokens=tokens), past_key_values=cache)

    run = measured(model, work)
    assert column(run, "tokens", "full") == (PROMPT, PROMPT + 1)


def test_a_cache_that_the_model_makes_and_returns():
    model = llama()
    run = measured(model, lambda: model(prompt(), return_dict=False))
    assert column(run, "tokens", "full") == (PROMPT,)


def test_a_compiled_model():
    model = llama()
    compiled = torch.compile(model, backend="eager")
    run = measured(compiled, lambda: compiled.generate(prompt(), **GREEDY))
    assert column(run, "tokens", "full") == HELD


def test_generations_and_threads_each_have_their_cache():
    model = llama()

    def work():
        model.generate(prompt(tokens=5), **GREEDY)
        threads = [threading.Thread(target=model.generate, args=(prompt(tokens=9),), kwargs=GREEDY) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run = measured(model, work)
    by_generation = run.kv.assign(generation=run.steps["generation"].iloc[run.kv["step"]].to_numpy())
    tokens = [tuple(rows["tokens"]) for _, rows in by_generation.groupby("generation")]
    assert tokens == [(5, 6, 7, 8), (9, 10, 11, 12), (9, 10, 11, 12)]


def test_without_a_cache_there_is_a_reason():
    model = llama()
    run = measured(model, lambda: model(prompt(), use_cache=False))
    assert not len(run.kv)
    assert "the model kept no cache" in run.meta.not_measured["kv"]


def test_a_traced_profile_has_it_too():
    model = llama()
    with profkit.profile("traced", model=model) as session:
        model.generate(prompt(), **GREEDY)
    assert column(session.run, "tokens", "full") == HELD


class Larger(transformers.DynamicCache):
    """A cache with something more in it."""


class LargerLayer(transformers.cache_utils.DynamicLayer):
    """A layer with something more in it."""


@pytest.mark.parametrize("where", ["cache", "layer"])
def test_an_unknown_class_is_named_and_not_guessed(where):
    cache = Larger() if where == "cache" else transformers.DynamicCache()
    if where == "layer":
        cache.layer_class_to_replicate = LargerLayer
    model = llama()
    run = measured(model, lambda: model.generate(prompt(), past_key_values=cache, **GREEDY))
    assert not len(run.kv)
    named = [warning for warning in run.warnings if "Larger" in warning]
    assert len(named) == 1, "said once"
    assert "Larger" in run.meta.not_measured["kv"]


def test_shared_storage_counts_once():
    both = torch.zeros(2, 1, 1, 8, 4)
    cache = transformers.DynamicCache()
    cache.update(both[0], both[1], 0)
    cache.layers[0].keys, cache.layers[0].values = both[0], both[1]
    (size,) = KVRecorder(Clock()).read(None, cache, 8).sizes
    assert size.logical_bytes == size.storage_bytes == both.nbytes


def test_a_cache_that_is_gone_is_not_held():
    model = llama()
    gone = []

    def work():
        out = model(prompt())
        gone.append(weakref.ref(out.past_key_values.layers[0].keys))
        del out
        gc.collect()
        gone.append(gone[0]() is None)

    measured(model, work)
    assert gone[1]


def test_a_length_that_is_not_known_leaves_the_tokens_out():
    cache = transformers.StaticCache(llama().config, max_cache_len=32)
    model = llama()
    model(prompt(), past_key_values=cache)
    (size,) = KVRecorder(Clock()).read(model, cache, None).sizes
    assert (size.tokens, size.logical_bytes) == (None, None)
    assert size.capacity_bytes == LAYERS * BATCH * 32 * TOKEN


def test_the_table_has_its_columns():
    assert list(generated(llama()).kv.columns) == KV.names
