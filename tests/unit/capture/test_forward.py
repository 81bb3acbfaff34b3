"""Forward passes of real models, told apart by the shapes that they are called with."""

import copy
import gc
import io
import pickle
import threading
import weakref

import pytest
import torch
import transformers

from profkit.capture.clock import Clock
from profkit.capture.forward import ForwardWatcher
from profkit.capture.steps import StepRecorder

PROMPT, NEW = 7, 4
GREEDY = {"max_new_tokens": NEW, "do_sample": False}
SIZE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ENDLESS = {"eos_token_id": None, "pad_token_id": 0, "bos_token_id": None}


class Watched:
    """Models that are watched between `start` and `stop`, and what was seen."""

    def __init__(self, *models):
        self.recorder = StepRecorder(Clock())
        self.watcher = ForwardWatcher(self.recorder, Clock())
        self.models = models

    def __enter__(self):
        self.watcher.attach(self.models)
        return self

    def __exit__(self, *error):
        self.watcher.detach()

    @property
    def table(self):
        return self.recorder.table().to_pylist()

    @property
    def steps(self):
        """(generation, phase, batch, tokens read, tokens in the cache before, tokens made) of each step."""
        names = ("generation", "phase", "batch", "query_tokens", "context_tokens", "tokens_out")
        return [tuple(row[name] for name in names) for row in self.table]


def cached(batch=2, prompt=PROMPT, new=NEW, context=0, generation=0):
    """The steps of one generation with a cache."""
    first = (generation, "prefill", batch, prompt, context, batch)
    rest = [(generation, "decode", batch, 1, context + prompt + at, batch) for at in range(new - 1)]
    return [first, *rest]


def uncached(batch=2, prompt=PROMPT, new=NEW, limit=99):
    """The steps of one generation that reads the whole sequence each time, up to `limit` tokens."""
    first = (0, "prefill", batch, min(prompt, limit), 0, batch)
    return [first, *((0, "decode", batch, min(prompt + at, limit), 0, batch) for at in range(1, new))]


def build(model_class, config):
    torch.manual_seed(0)
    model = model_class(config).eval()
    for name, value in ENDLESS.items():
        setattr(model.generation_config, name, value)
    return model


@pytest.fixture(scope="module")
def llama():
    config = transformers.LlamaConfig(**SIZE, num_key_value_heads=2, max_position_embeddings=128)
    return build(transformers.LlamaForCausalLM, config)


@pytest.fixture(scope="module")
def ids():
    return torch.randint(1, 64, (2, PROMPT), generator=torch.Generator().manual_seed(1))


class Gpt(torch.nn.Module):
    """A model without a cache, with its own `generate`, as in nanoGPT."""

    def __init__(self, block=32):
        super().__init__()
        self.embed, self.head, self.block = torch.nn.Embedding(64, 8), torch.nn.Linear(8, 64), block

    def forward(self, idx, targets=None):
        return self.head(self.embed(idx)), None

    @torch.no_grad()
    def generate(self, idx, max_new_tokens):
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -self.block :])
            idx = torch.cat([idx, logits[:, -1:].argmax(-1)], 1)
        return idx


class FastGpt(torch.nn.Module):
    """A model with its cache inside and positions as an argument, as in gpt-fast."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(64, 8), torch.nn.Linear(8, 64)
        self.register_buffer("cache", torch.zeros(2, 32, 8))

    def forward(self, idx, input_pos):
        hidden = self.embed(idx)  # [B, T, H]
        self.cache[:, input_pos] = hidden
        return self.head(hidden + self.cache.sum(1, keepdim=True))


# Generation by transformers.


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


# Other families.


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


# Loops of the user.


def decode_by_hand(model, ids, new=NEW):
    """Greedy decoding with a cache; returns the logits of every step."""
    output, logits = model(ids, use_cache=True), []
    for _ in range(new - 1):
        logits.append(output.logits)
        token = output.logits[:, -1:].argmax(-1)
        output = model(token, past_key_values=output.past_key_values, use_cache=True)
    return [*logits, output.logits]


def test_a_loop_with_the_models_cache(llama, ids):
    with Watched(llama) as seen:
        decode_by_hand(llama, ids)
        decode_by_hand(llama, ids)
    assert seen.steps == cached() + cached(generation=1)


def test_prompts_that_are_only_scored_make_no_tokens(llama, ids):
    with Watched(llama) as seen:
        for _ in range(3):
            llama(ids)
    assert seen.steps == [(generation, "prefill", 2, PROMPT, 0, 0) for generation in range(3)]


@pytest.mark.parametrize("block", [32, 9, 4], ids=["short", "reaches its limit", "longer than its limit"])
def test_a_model_without_a_cache_and_its_own_generate(ids, block):
    model = Gpt(block)
    with Watched(model) as seen:
        model.generate(ids, 5)
    assert seen.steps == uncached(new=5, limit=block)


def test_a_loop_around_a_model_without_a_cache(ids):
    model, sequence = Gpt(), ids
    with Watched(model) as seen:
        for _ in range(NEW):
            sequence = torch.cat([sequence, model(sequence)[0][:, -1:].argmax(-1)], 1)
    assert seen.steps == uncached()


def test_a_model_that_keeps_its_cache_to_itself(ids):
    model = FastGpt()
    with Watched(model) as seen, torch.no_grad():
        for _ in range(2):
            model(ids, torch.arange(PROMPT))
            for at in range(NEW - 1):
                model(ids[:, :1], torch.tensor([PROMPT + at]))
    assert seen.steps == cached() + cached(generation=1)


def test_one_sequence_without_a_batch_dimension(ids):
    model = Gpt()
    with Watched(model) as seen:
        model(ids[0])
    assert seen.steps == [(0, "prefill", 1, PROMPT, 0, 0)]


def test_a_model_of_numbers_has_no_steps_and_is_counted():
    model = torch.nn.Linear(4, 4)
    with Watched(model) as seen:
        model(torch.randn(2, 4))
    assert (seen.steps, seen.watcher.other_calls) == ([], 1)


def test_a_model_and_its_part_are_one_step(llama, ids):
    with Watched(llama, llama.model, llama.model.layers[0]) as seen:
        llama.generate(ids, **GREEDY)
    assert seen.steps == cached()


def test_two_models_have_their_own_generations(ids):
    first, second = Gpt(), Gpt()
    with Watched(first, second) as seen:
        first(ids)
        second(ids)
        first(ids)
    assert [generation for generation, *_ in seen.steps] == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_forward_that_raised_is_no_step_and_the_next_one_is(ids, error):
    class Failing(Gpt):
        fails = True

        def forward(self, idx, targets=None):
            if self.fails:
                raise error("on purpose")
            return super().forward(idx)

    model = Failing()
    with Watched(model) as seen:
        with pytest.raises(error, match="on purpose"):
            model(ids)
        model.fails = False
        model(ids)
    assert [phase for _, phase, *_ in seen.steps] == ["prefill"]


def test_threads_do_not_mix_their_generations(llama, ids):
    def run(rows):
        decode_by_hand(llama, ids[:rows])

    with Watched(llama) as seen:
        threads = [threading.Thread(target=run, args=(rows,)) for rows in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_batch = [[step[1:] for step in seen.steps if step[2] == batch] for batch in (1, 2)]
    assert by_batch == [[step[1:] for step in cached(batch)] for batch in (1, 2)]
    assert len({(generation, batch) for generation, _, batch, *_ in seen.steps}) == 2


def test_threads_do_not_mix_what_a_model_without_a_cache_has_read(ids):
    model, turn = Gpt(), threading.Barrier(2)

    def run(prompt):
        sequence = prompt
        for _ in range(NEW):
            turn.wait(timeout=30)
            sequence = torch.cat([sequence, model(sequence)[0][:, -1:].argmax(-1)], 1)

    with Watched(model) as seen:
        threads = [threading.Thread(target=run, args=(ids[:, :length],)) for length in (3, PROMPT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_generation = [[step[1:] for step in seen.steps if step[0] == generation] for generation in (0, 1)]
    expected = [[step[1:] for step in uncached(prompt=length)] for length in (3, PROMPT)]
    assert sorted(by_generation, key=lambda steps: steps[0][2]) == expected


# Compiled models.


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("named", ["wrapper", "both", "both, model first"])
@pytest.mark.parametrize("full", [False, True], ids=["", "full graph"])
def test_a_compiled_model(ids, named, full):
    model = Gpt()
    compiled = torch.compile(model, backend="eager", fullgraph=full)
    models = {"wrapper": [compiled], "both": [compiled, model], "both, model first": [model, compiled]}[named]
    with Watched(*models) as seen:
        sequence = ids
        for _ in range(NEW):
            sequence = torch.cat([sequence, compiled(sequence)[0][:, -1:].argmax(-1)], 1)
    assert seen.steps == uncached()


def test_generate_of_a_compiled_model_runs_the_model_inside_it(llama, ids):
    compiled = torch.compile(llama, backend="eager")
    with Watched(compiled) as seen:
        compiled.generate(ids, **GREEDY)
    assert seen.steps == cached()
    assert not llama._forward_hooks


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("how", ["forward", "in place"])
def test_a_model_that_was_compiled_in_place(ids, how):
    model = Gpt()
    if how == "forward":
        model.forward = torch.compile(model.forward, backend="eager")
    else:
        model.compile(backend="eager")
    compiled = model._compiled_call_impl
    model(ids)
    with Watched(model) as seen:
        model.generate(ids, NEW)
    assert seen.steps == uncached()
    assert model._compiled_call_impl is compiled


@pytest.mark.usefixtures("fresh_compiler")
def test_watching_changes_nothing_in_what_was_compiled(ids):
    model = Gpt()

    @torch.compile(backend="eager")
    def step(tokens):
        return model(tokens)[0].sum()

    for _ in range(2):
        step(ids)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with Watched(model) as seen:
        step(ids)
    step(ids)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert seen.steps == []


# What watching leaves as it was.


def test_watching_changes_no_logit(llama, ids):
    plain = decode_by_hand(llama, ids)
    with Watched(llama):
        watched = decode_by_hand(llama, ids)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_nothing_is_left_on_the_model_or_its_class(llama, ids):
    before = dict(type(llama).__dict__), set(llama.__dict__)
    with Watched(llama, llama.model):
        llama.generate(ids, **GREEDY)
    assert (dict(type(llama).__dict__), set(llama.__dict__)) == before
    assert not llama._forward_hooks
    assert not llama._forward_pre_hooks
    assert not llama._forward_hooks_always_called
    assert not llama._forward_hooks_with_kwargs


def test_a_class_gets_its_own_generate_back():
    own = Gpt.__dict__["generate"]
    with Watched(Gpt(), Gpt()):
        assert Gpt.__dict__["generate"] is not own
    assert Gpt.__dict__["generate"] is own


def test_models_that_are_not_watched_are_left_alone(ids):
    with Watched(Gpt()) as seen:
        Gpt().generate(ids, 2)
    assert seen.steps == []


def test_a_cache_dies_with_its_last_reference(llama, ids):
    with Watched(llama):
        output = llama(ids, use_cache=True)
        cache = weakref.ref(output.past_key_values)
        del output
        gc.collect()
        assert cache() is None


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_that_was_made_meanwhile_is_not_watched(ids, copier):
    model = Gpt()
    with Watched(model) as seen:
        copied = copier(model)
        copied.generate(ids, 2)
    assert seen.steps == []
    assert torch.equal(copied(ids)[0], model(ids)[0])


def test_a_model_that_is_saved_meanwhile_loads_without_us(ids):
    model, file = Gpt(), io.BytesIO()
    with Watched(model):
        torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(ids)[0], model(ids)[0])
