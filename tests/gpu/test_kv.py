"""The KV cache on a GPU: sizes, the allocator's state, and no wait for the device."""

import pytest
import torch
import transformers

import profkit
from profkit.analysis.kv import kv_growth
from profkit.capture.clock import Clock
from profkit.capture.kvcache import KVRecorder, allocator
from profkit.models import random_prompt

BATCH, PROMPT, NEW, LAYERS, KV_HEADS, WIDTH = 2, 64, 6, 4, 2, 64
TOKEN = 2 * KV_HEADS * WIDTH * 2  # keys and values of one layer in bf16
GREEDY = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
SHAPE = {
    "vocab_size": 1024,
    "hidden_size": 8 * WIDTH,
    "intermediate_size": 1024,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": KV_HEADS,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def model():
    """A small model in the shape of an 8B Llama: four heads share keys and values."""
    config = transformers.LlamaConfig(**SHAPE)
    return transformers.LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()


def profiled(model, **options):
    inputs = random_prompt(model, BATCH, PROMPT)
    model.generate(**inputs, **GREEDY | options)
    with profkit.profile("kv", model=model, trace=False) as session:
        model.generate(**inputs, **GREEDY | options)
    return session.run


def test_sizes_and_the_allocators_state(model):
    run = profiled(model)
    held = [PROMPT + at for at in range(NEW)]
    assert run.kv["logical_bytes"].tolist() == [LAYERS * BATCH * tokens * TOKEN for tokens in held]
    assert run.kv["storage_bytes"].tolist() == run.kv["logical_bytes"].tolist()
    assert set(run.kv["device"]) == {0}
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert (run.kv["allocated"] >= weights + run.kv["storage_bytes"]).all()
    assert (run.kv["reserved"] >= run.kv["allocated"]).all()
    assert run.kv["inactive"].notna().all()
    growth = kv_growth(run.record)
    assert growth.deviation == 0
    assert growth.bytes_per_token == LAYERS * TOKEN


def test_when_the_gpu_is_full(model):
    end = kv_growth(profiled(model).record).full
    assert end.memory_bytes == torch.cuda.get_device_properties(0).total_memory
    used = end.beside_bytes + (end.outside_bytes or 0) + end.batch * end.context * LAYERS * TOKEN
    assert 0 <= end.memory_bytes - used < end.batch * LAYERS * TOKEN


def test_the_allocators_state_is_what_torch_says():
    stats = torch.cuda.memory_stats()
    state = allocator(0)
    assert state.allocated == stats["allocated_bytes.all.current"]
    assert state.reserved == stats["reserved_bytes.all.current"]
    assert state.inactive == stats["inactive_split_bytes.all.current"]


def test_a_window_pins_the_prompt_until_the_next_step():
    config = transformers.MistralConfig(**SHAPE, sliding_window=16)
    run = profiled(transformers.MistralForCausalLM(config).to("cuda", torch.bfloat16).eval())
    assert set(run.kv["logical_bytes"]) == {LAYERS * BATCH * 15 * TOKEN}
    assert run.kv["storage_bytes"].iloc[0] == LAYERS * BATCH * PROMPT * TOKEN


@pytest.mark.parametrize("compiled", [False, True])
def test_a_static_cache_compiled_or_not(model, compiled):
    run = profiled(model, cache_implementation="static", disable_compile=not compiled)
    assert run.kv["tokens"].tolist() == [PROMPT + at for at in range(NEW)]
    assert set(run.kv["capacity_bytes"]) == {LAYERS * BATCH * (PROMPT + NEW - 1) * TOKEN}


def test_an_offloaded_cache_is_counted_where_it_lies(model):
    run = profiled(model, cache_implementation="offloaded")
    by_step = run.kv.groupby("step")["logical_bytes"].sum().tolist()
    assert by_step == [LAYERS * BATCH * (PROMPT + at) * TOKEN for at in range(NEW)]
    assert set(run.kv["device"]) == {-1, 0}
    on_gpu = run.kv[run.kv["device"] == 0]
    assert (on_gpu["layers"] < LAYERS).all()


def test_continuous_batching(model):
    config = transformers.GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=0)
    with profkit.profile("kv", model=model, trace=False) as session:
        model.generate_batch([[5] * 40, [6] * 300], generation_config=config, progress_bar=False)
    run = session.run
    if not len(run.kv):
        pytest.skip(f"its calls were not seen here: {run.meta.not_measured['kv']}")
    assert set(run.kv["step"]) == {-1}
    known = run.kv.dropna(subset=["logical_bytes"])
    assert len(known)
    assert (known["logical_bytes"] == known["tokens"] * LAYERS * TOKEN).all()
    assert (known["logical_bytes"] <= known["capacity_bytes"]).all()
    assert (run.kv["capacity_bytes"] <= run.kv["storage_bytes"]).all()


@pytest.mark.parametrize("static", [False, True])
def test_a_reading_does_not_wait_for_the_gpu(model, static):
    cache = transformers.StaticCache(config=model.config, max_cache_len=128) if static else transformers.DynamicCache()
    ids = random_prompt(model, BATCH, PROMPT)["input_ids"]
    model(ids, past_key_values=cache)
    recorder = KVRecorder(Clock())
    recorder.read(model, cache, PROMPT)
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)  # cycles: a second
    torch.cuda.set_sync_debug_mode("error")
    try:
        recorder.read(model, cache, PROMPT)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.cuda.current_stream().query(), "the GPU still works: nobody waited"
    torch.cuda.synchronize()
