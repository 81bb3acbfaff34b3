"""Small models that are watched, and the steps that are to be seen of them."""

import torch

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


def decode_by_hand(model, ids, new=NEW):
    """Greedy decoding with a cache; returns the logits of every step."""
    output, logits = model(ids, use_cache=True), []
    for _ in range(new - 1):
        logits.append(output.logits)
        token = output.logits[:, -1:].argmax(-1)
        output = model(token, past_key_values=output.past_key_values, use_cache=True)
    return [*logits, output.logits]


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
