"""Steps and tokens of a real `generate`, and models found where a cell names them."""

import re

import pytest

MAGIC = "%%llmprofile --no-widget --no-save"
PROMPT, NEW, BATCH = 7, 5, 2

SETUP = f"""
import torch
from transformers import LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, bos_token_id=1, eos_token_id=None,
)
torch.manual_seed(0)
llama = LlamaForCausalLM(config).eval()
prompt = torch.randint(2, 64, ({BATCH}, {PROMPT}))
how = dict(max_new_tokens={NEW}, min_new_tokens={NEW}, do_sample=False)

def answer():
    return llama.generate(prompt, **how)

def ask_twice():
    return [answer(), answer()]

class Pipe:
    def __init__(self, model):
        self.model = model
    def __call__(self):
        return self.model.generate(prompt, **how)

class Deep:
    def __init__(self, pipe):
        self.pipe = pipe

pipe = Pipe(llama)
deep = Deep(pipe)
"""


@pytest.fixture(scope="module", autouse=True)
def llama(kernel):
    pytest.importorskip("transformers")
    kernel.setup(SETUP)


def steps(kernel, name):
    """(phase, tokens read per sequence, tokens in the cache before) of each step."""
    columns = f"{name}.steps[['phase', 'query_tokens', 'context_tokens']].astype(object)"
    return [tuple(row) for row in kernel.value(f"{columns}.values.tolist()")]


EXPECTED = [("prefill", PROMPT, 0), *(("decode", 1, PROMPT + i) for i in range(NEW - 1))]


def test_generate_is_one_prefill_and_a_decode_for_each_further_token(kernel):
    reply = kernel.run(f"{MAGIC} --name generated\nout = llama.generate(prompt, **how)\nout.shape")
    assert reply.results == [f"torch.Size([{BATCH}, {PROMPT + NEW}])"]
    assert steps(kernel, "generated") == EXPECTED
    numbers = kernel.value(
        "[getattr(generated.summary(), name) for name in ('steps', 'prompt_tokens', 'output_tokens')]"
    )
    assert numbers == [NEW, BATCH * PROMPT, BATCH * NEW]
    assert kernel.value("generated.summary().ttft_ns > 0 and generated.summary().tpot_ns > 0") is True
    assert kernel.value("'aten::linear' in set(generated.events.name)") is True


def test_output_under_the_profile_is_the_output_without(kernel):
    kernel.setup("plain = llama.generate(prompt, **how)")
    kernel.setup(f"{MAGIC}\nunder = llama.generate(prompt, **how)")
    assert kernel.value("torch.equal(plain, under)") is True


def test_summary_shows_the_steps(kernel):
    (summary,) = kernel.run(f"{MAGIC}\nllama.generate(prompt, **how);").summaries
    assert "the cell names no model" not in summary["text/plain"]
    assert re.search(rf"Output tokens +{BATCH * NEW}\b", summary["text/plain"])


@pytest.mark.parametrize(
    "call",
    [
        "llama.generate(prompt, **how)",
        "answer()",
        "pipe()",
        "pipe.model.generate(prompt, **how)",
        "deep.pipe.model.generate(prompt, **how)",
        "run = lambda: answer()\nrun()",
        "\n%%time\nllama.generate(prompt, **how);",
        "[answer() for _ in range(1)]",
        "import asyncio\nasync def later():\n    return llama.generate(prompt, **how)\nawait later();",
        "import threading\nt = threading.Thread(target=answer)\nt.start()\nt.join()",
    ],
    ids=[
        "name",
        "function of another cell",
        "object that holds it",
        "attribute",
        "nested attribute",
        "lambda in the cell",
        "cell magic inside",
        "comprehension",
        "coroutine",
        "thread",
    ],
)
def test_model_is_found_where_the_cell_names_it(kernel, call):
    kernel.setup(f"{MAGIC} --name found\n{call}")
    assert steps(kernel, "found") == EXPECTED


def test_model_is_found_through_two_functions(kernel):
    kernel.setup(f"{MAGIC} --name found\nask_twice();")
    assert steps(kernel, "found") == EXPECTED * 2
    assert kernel.value("found.steps.generation.nunique()") == 2


def test_model_is_found_below_another_magic(kernel):
    kernel.setup(f"%%time\n{MAGIC} --name found\nanswer();")
    assert steps(kernel, "found") == EXPECTED


def test_model_is_found_by_the_line_form(kernel):
    kernel.setup("%llmprofile --no-widget --no-save --name found answer()")
    assert steps(kernel, "found") == EXPECTED


def test_model_is_found_in_a_silent_cell(kernel):
    kernel.run(f"{MAGIC}\nanswer();", silent=True)
    kernel.setup("import profkit\nfound = profkit.last")
    assert steps(kernel, "found") == EXPECTED


def test_model_that_is_named_is_used(kernel):
    kernel.setup("hidden = [[llama]]")
    kernel.setup(f"{MAGIC} --name unfound\nhidden[0][0].generate(prompt, **how);")
    assert steps(kernel, "unfound") == []
    kernel.setup(f"{MAGIC} --name found --model hidden[0][0]\nhidden[0][0].generate(prompt, **how);")
    assert steps(kernel, "found") == EXPECTED


def test_block_finds_the_model_too(kernel):
    kernel.setup("import profkit\nwith profkit.profile('block') as block:\n    answer()\nfound = block.run")
    assert steps(kernel, "found") == EXPECTED


def test_unprofiled_passes_are_no_steps(kernel):
    kernel.setup(f"{MAGIC} --name found --repeat 2\nanswer();")
    assert steps(kernel, "found") == EXPECTED


def test_interrupted_generate_keeps_its_steps_and_the_model_works_on(kernel):
    kernel.interrupt_when(f"{MAGIC} --name cut\nanswer()\nprint('started')\nwhile True:\n    answer()", "started")
    assert steps(kernel, "cut")[:NEW] == EXPECTED
    kernel.setup(f"{MAGIC} --name found\nanswer();")
    assert steps(kernel, "found") == EXPECTED
    hooks = "[len(llama._forward_hooks), len(llama._forward_pre_hooks), 'generate' in vars(type(llama))]"
    assert kernel.value(hooks) == [0, 0, False]


def test_failing_forward_is_no_step(kernel):
    reply = kernel.run(f"{MAGIC} --name cut\nanswer()\nllama(torch.full((1, 3), 999))")
    assert reply.ename == "IndexError"
    assert steps(kernel, "cut")[:NEW] == EXPECTED
