"""Steps inside `generate` of transformers: real models of several families."""

import pytest
import torch
import transformers
from unit.watched import ENDLESS, GREEDY, NEW, PROMPT, SIZE, Watched, build, cached, uncached


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
def test_generate_is_a_prefill_and_a_decode_step_for_each_further_token(llama, ids, options):
    with Watched(llama) as seen:
        llama.generate(ids, **GREEDY, **options)
    assert seen.steps == cached()


def test_generate_without_a_cache_reads_everything_each_time(llama, ids):
    with Watched(llama) as seen:
        llama.generate(ids, **GREEDY, use_cache=False)
    assert seen.steps == uncached()


def test_one_new_token_is_a_prefill_that_made_it(llama, ids):
    with Watched(llama) as seen:
        llama.generate(ids, max_new_tokens=1, do_sample=False)
    assert seen.steps == cached(new=1)


def test_beams_are_computed_in_the_batch_and_make_the_tokens_of_one_sequence(llama, ids):
    with Watched(llama) as seen:
        llama.generate(ids, **GREEDY, num_beams=3)
    assert [step[:-1] for step in seen.steps] == [step[:-1] for step in cached(batch=6)]
    assert [step[-1] for step in seen.steps] == [step[-1] for step in cached(batch=2)]


def test_padding_counts_as_tokens_that_are_read(llama, ids):
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with Watched(llama) as seen:
        llama.generate(ids, attention_mask=mask, **GREEDY)
    assert seen.steps == cached()


def test_embeddings_are_a_prompt_too(llama, ids):
    embeddings = llama.get_input_embeddings()(ids).detach()
    with Watched(llama) as seen:
        llama.generate(inputs_embeds=embeddings, **GREEDY)
    assert seen.steps == cached()


def test_a_prompt_in_chunks_is_prefill_to_its_last_token(llama, ids):
    with Watched(llama) as seen:
        llama.generate(ids, **GREEDY, prefill_chunk_size=3)
    chunks = [(0, "prefill", 2, 3, 0, 0), (0, "prefill", 2, 3, 3, 0), (0, "prefill", 2, 1, 6, 2)]
    assert seen.steps == [*chunks, *cached()[1:]]


def test_a_chat_that_goes_on_with_its_cache_reads_what_is_new(llama, ids):
    cache = transformers.DynamicCache(config=llama.config)
    with Watched(llama) as seen:
        first = llama.generate(ids[:1], past_key_values=cache, **GREEDY)
        second = torch.cat([first, ids[:1, :5]], 1)
        llama.generate(second, past_key_values=cache, **GREEDY)
    kept = PROMPT + NEW - 1  # the newest token was returned and not yet read
    assert seen.steps == cached(1) + cached(1, prompt=6, context=kept, generation=1)


def test_every_generate_call_is_sent_when_it_is_made(llama, ids):
    with Watched(llama) as seen:
        for _ in range(2):
            llama.generate(ids, **GREEDY)
    assert seen.steps == cached() + cached(generation=1)
    sent = [row["sent"] for row in seen.table]
    assert sent == [sent[0]] * NEW + [sent[NEW]] * NEW
    assert sent[0] <= seen.table[0]["start"] < sent[NEW] <= seen.table[NEW]["start"]


@pytest.mark.parametrize("named", ["the model", "both"])
def test_assisted_decoding_is_the_steps_of_the_model_that_verifies(llama, ids, named):
    assistant = build(transformers.LlamaForCausalLM, transformers.LlamaConfig(**SIZE, max_position_embeddings=128))
    with Watched(*([llama] if named == "the model" else [assistant, llama])) as seen:
        output = llama.generate(ids[:1], assistant_model=assistant, max_new_tokens=8, do_sample=False)
    phases = [phase for _, phase, *_ in seen.steps]
    assert phases == ["prefill"] + ["decode"] * (len(phases) - 1)
    assert sum(made for *_, made in seen.steps) == output.shape[1] - PROMPT == 8


def test_drafts_that_were_accepted_are_counted(llama):
    repeated = torch.tensor([[5, 6, 7, 8] * 4])
    plain = llama.generate(repeated, max_new_tokens=24, do_sample=False)
    with Watched(llama) as seen:
        looked_up = llama.generate(repeated, max_new_tokens=24, do_sample=False, prompt_lookup_num_tokens=4)
    assert torch.equal(looked_up, plain)
    assert {phase for _, phase, *_ in seen.steps[1:]} == {"decode"}
    assert sum(made for *_, made in seen.steps) == 24
    assert len(seen.steps) < 24  # some drafts were accepted, else this test shows nothing


def test_continuous_batching_works_and_is_no_steps(llama):
    config = transformers.GenerationConfig(**GREEDY | ENDLESS | {"eos_token_id": -1})
    small = transformers.ContinuousBatchingConfig(page_size=16, num_blocks=16, max_batch_tokens=32)
    with Watched(llama) as seen:
        outputs = llama.generate_batch(
            inputs=[[1, 2, 3, 4, 5], [4, 5, 6]], generation_config=config, continuous_batching_config=small
        )
    assert sorted(len(output.generated_tokens) for output in outputs.values()) == [NEW, NEW]
    assert seen.steps == []
    assert seen.watcher.packed_calls >= 2


def t5():
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return build(transformers.T5ForConditionalGeneration, config)


def whisper():
    config = transformers.WhisperConfig(
        vocab_size=64,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=8,
        max_source_positions=50,
        max_target_positions=40,
        decoder_start_token_id=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return build(transformers.WhisperForConditionalGeneration, config)


def mistral():
    config = transformers.MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=4)
    return build(transformers.MistralForCausalLM, config)


def gemma():
    config = transformers.Gemma3TextConfig(**SIZE, num_key_value_heads=2, head_dim=8, sliding_window=4)
    return build(transformers.Gemma3ForCausalLM, config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return build(transformers.GPT2LMHeadModel, config)


def mamba():
    config = transformers.MambaConfig(vocab_size=64, hidden_size=32, state_size=4, num_hidden_layers=2)
    return build(transformers.MambaForCausalLM, config)


@pytest.mark.parametrize("make", [mistral, gemma, gpt2, mamba])
def test_decoders_of_other_families(make, ids):
    model = make()
    plain = model.generate(ids, **GREEDY)
    with Watched(model) as seen:
        output = model.generate(ids, **GREEDY)
    assert torch.equal(output, plain)
    assert seen.steps == cached()


@pytest.mark.parametrize("make", [t5, whisper])
def test_an_encoder_decoders_steps_are_those_of_its_decoder(make, ids):
    model = make()
    inputs = ids if make is t5 else torch.randn(2, 8, 100)
    with Watched(model) as seen:
        model.generate(inputs, **GREEDY)
    assert seen.steps == cached(prompt=1)


def test_an_encoder_decoder_with_a_prompt_for_its_decoder(ids):
    model = t5()
    with Watched(model) as seen:
        model.generate(ids, decoder_input_ids=ids[:, :3], **GREEDY)
    assert seen.steps == cached(prompt=4)  # the start token comes in front
