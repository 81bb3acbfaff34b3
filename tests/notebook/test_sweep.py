"""`%%llmsweep` through a real kernel: what it measures, keeps, puts back and refuses."""

import pytest

QUIET = "--no-save --no-widget --precision 0.5"
FAST = f"{QUIET} --budget 3s"


@pytest.fixture(scope="module")
def kernel(new_kernel):
    """A kernel of this module's own: sweeps bind names that other modules' cells may have bound."""
    return new_kernel


@pytest.fixture(scope="module", autouse=True)
def model(kernel):
    kernel.setup(
        "import torch\n"
        "class Counter(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.embed = torch.nn.Embedding(9, 4)\n"
        "    def forward(self, input_ids, past_key_values=None):\n"
        "        past_key_values.tokens += input_ids.shape[1]\n"
        "        return self.embed(input_ids)\n"
        "class Cache:\n"
        "    tokens = 0\n"
        "    def get_seq_length(self):\n"
        "        return self.tokens\n"
        "counter = Counter()\n"
        "def decode(batch, context, steps=4):\n"
        "    cache = Cache()\n"
        "    counter(torch.zeros(batch, context, dtype=torch.int64), past_key_values=cache)\n"
        "    for _ in range(steps):\n"
        "        counter(torch.zeros(batch, 1, dtype=torch.int64), past_key_values=cache)\n"
    )


def statuses(kernel, name):
    return kernel.value(f"{name}.points[['batch', 'status']].astype(str).values.tolist()")


def test_a_cell_is_swept_and_shown(kernel):
    reply = kernel.run(f"%%llmsweep batch=1,2 context=3,5 {FAST} --name curves\ndecode(batch, context)")
    assert reply.status == "ok", reply.tracebacks or reply.stderr
    assert kernel.value("list(curves.table.columns[:3])") == ["batch", "context", "phase"]
    assert kernel.value("len(curves.table)") == 4 * 3
    tokens = kernel.value("curves.points['tokens_out'].tolist()")
    assert tokens == [5, 5, 10, 10]  # one of the prompt, four decode steps, for each sequence
    assert kernel.value("curves.points['requests'].tolist()") == [1, 1, 2, 2]
    assert any("Points" in data["text/plain"] and "4 of 4" in data["text/plain"] for data in reply.displays)
    assert kernel.value("__import__('profkit').last_sweep is curves")


def test_without_a_gpu_it_says_what_is_missing(kernel):
    if kernel.value("torch.cuda.is_available()"):
        pytest.skip("a GPU is here")
    kernel.setup(f"%%llmsweep batch=1 {FAST} --name plain\ndecode(batch, 3)")
    missing = kernel.value("plain.meta.not_measured")
    assert {"energy", "floor"} <= set(missing)
    assert kernel.value("plain.table['joules_per_token'].isna().all().item()")


def test_axes_are_put_back_and_other_names_live_on(kernel):
    kernel.setup("batch = 'mine'\nif 'context' in globals(): del context")
    names = "sorted(name for name in get_ipython().user_ns if not name.startswith('_'))"
    before = set(kernel.value(names))
    kernel.setup(f"%%llmsweep batch=1,2 context=3 {FAST} --name restored\ndecode(batch, context)\nbatch = 7\nmade = 1")
    assert kernel.value("batch") == "mine"
    assert set(kernel.value(names)) - before == {"restored", "made"}
    kernel.setup("del batch, made")


def test_an_error_at_one_point_is_a_result_and_the_others_go_on(kernel):
    reply = kernel.run(
        f"%%llmsweep batch=1,2,3 {FAST} --name partly\n"
        "if batch == 2:\n    raise ValueError('odd one')\ndecode(batch, 3)"
    )
    assert reply.status == "ok"
    assert statuses(kernel, "partly") == [["1", "ok"], ["2", "error"], ["3", "ok"]]
    assert kernel.value("partly.points['message'].tolist()[1]") == "ValueError: odd one (line 2)"


def test_an_error_at_every_point_stops_run_all_at_the_users_line(kernel):
    reply, after = kernel.run_all(
        f"%%llmsweep batch=1,2 {FAST} --name broken\nvalue = batch\nundefined_name + value", "1 + 1"
    )
    assert (reply.status, reply.ename) == ("error", "NameError")
    assert "undefined_name + value" in reply.tracebacks[0]
    assert "grid.py" not in reply.tracebacks[0]
    assert after.status == "aborted"
    assert statuses(kernel, "broken") == [["1", "error"], ["2", "error"]]
    assert kernel.value("'batch' in globals()") is False
    kernel.setup("del value")


def test_out_of_memory_is_a_result_and_what_the_cell_made_is_let_go(kernel):
    kernel.setup(
        f"%%llmsweep batch=1,2 {FAST} --name short\n"
        "held = torch.zeros(1000)\n"
        "if batch == 2:\n    torch.empty(2**50)\n"
        "decode(batch, 3)"
    )
    assert statuses(kernel, "short") == [["1", "ok"], ["2", "out of memory"]]
    kernel.setup("globals().pop('held', None)")


def test_interrupt_keeps_what_is_done_shows_it_and_resume_goes_on(kernel):
    kernel.setup("import threading, _thread, time\nfirst_time = True")
    body = (
        "if first_time and batch == 2:\n"
        "    threading.Timer(0.2, _thread.interrupt_main).start()\n    time.sleep(30)\n"
        "decode(batch, 3)"
    )
    reply, after = kernel.run_all(f"%%llmsweep batch=1,2,3,4 {FAST} --name stopped\n{body}", "1 + 1")
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    assert after.status == "aborted"
    assert any("Interrupted: " in data["text/plain"] for data in reply.displays)
    done = [status for _, status in statuses(kernel, "stopped")]
    assert done.count("ok") < 4
    assert set(done) == {"ok", "skipped"}
    assert kernel.value("stopped.meta.interrupted")
    medians = kernel.value("stopped.table[['batch', 'median_ns']].dropna().values.tolist()")

    kernel.setup("first_time = False")
    kernel.setup(f"%%llmsweep batch=1,2,3,4 {FAST} --resume stopped --name whole\n{body}")
    assert {status for _, status in statuses(kernel, "whole")} == {"ok"}
    assert not kernel.value("whole.meta.interrupted")
    now = kernel.value("whole.table[['batch', 'median_ns']].values.tolist()")
    assert all(row in now for row in medians)  # what was measured is kept


def test_resume_from_a_file(kernel):
    kernel.setup("%%llmsweep batch=1 --precision 0.5 --budget 1s --name saved\ndecode(batch, 3)")
    kernel.setup(f"%%llmsweep batch=1,2 {FAST} --resume profkit-runs/saved.profsweep --name longer\ndecode(batch, 3)")
    assert statuses(kernel, "longer") == [["1", "ok"], ["2", "ok"]]
    assert kernel.value("longer.samples['duration_ns'].tolist()[:5] == saved.samples['duration_ns'].tolist()[:5]")


def test_output_of_the_cell_is_shown_once(kernel):
    reply = kernel.run(f"%%llmsweep batch=1,2 {FAST}\nprint('hello')\ndecode(batch, 3)")
    assert reply.stdout.count("hello") == 1


def test_a_point_is_traced_when_asked_for(kernel):
    kernel.setup(f"%%llmsweep batch=1,2 {FAST} --trace-at batch=2 --name traced\ndecode(batch, 3)")
    assert kernel.value("list(traced.runs)") == ["batch 2"]
    assert kernel.value("len(traced.runs['batch 2'].events)") > 0


def test_tokens_are_counted_from_the_value_where_no_step_is_seen(kernel):
    kernel.setup(f"%%llmsweep batch=1,2 {FAST} --name unseen\ntorch.zeros(batch, 6)")
    assert kernel.value("unseen.points['tokens_out'].isna().all().item()")
    assert "tokens=" in kernel.value("unseen.points['tokens_reason'].tolist()[0]")
    kernel.setup(f"%%llmsweep batch=1,2 {FAST} --tokens 'result.numel() - batch' --name told\ntorch.zeros(batch, 6)")
    assert kernel.value("told.points['tokens_out'].tolist()") == [5, 10]
    assert kernel.value("told.table['phase'].tolist()") == ["total", "total"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "a sweep needs an axis"),
        ("batch=", "axis 'batch' has an empty value"),
        ("batch=1,1", "axis 'batch' has 1 twice"),
        ("batch=1 batch=2", "axis 'batch' is given twice"),
        ("bach=1,2", "the cell does not use 'bach'; did you mean 'batch'?"),
        ("batch=1 seed_of_nothing=2", "the cell does not use 'seed_of_nothing'"),
        ("batch=1 stray", "'stray' is no axis"),
        ("batch=1 --slo tpop=3ms", "no objective 'tpop'; did you mean 'tpot'?"),
        ("batch=1 --slo tpot=3", "'3' is no duration"),
        ("batch=1 --budget 3", "'3' is no duration"),
        ("batch=1 --price 0", "0 is not above 0"),
        ("batch=1 --trace-at batch=2", "axis 'batch' has no value '2'"),
        ("batch=1 --nmae x", "unknown option --nmae; did you mean '--name'?"),
        ("batch=1 --name batch", "--name batch is an axis"),
        ("batch=1 --name print", "--name print is a builtin"),
        ("batch=1 --name torch", "--name torch is a module already"),
        ("batch=1 --resume nowhere", "no sweep at nowhere.profsweep"),
        ("batch=1 --tokens 'result +'", "is no expression"),
        ("batch=1 --model torch", "--model torch is a module, not an nn.Module"),
    ],
)
def test_what_cannot_be_is_refused_before_the_cell_runs(kernel, line, message):
    kernel.setup("ran = False")
    reply = kernel.run(f"%%llmsweep {line}\nran = True\ndecode(batch, 3)")
    assert (reply.status, reply.ename) == ("error", "UsageError")
    assert message in " ".join(reply.stderr.split())
    assert kernel.value("ran") is False


def test_values_of_variables_stand_in_braces(kernel):
    kernel.setup("sizes, seconds = [1, 3], 2")
    kernel.setup(f"%%llmsweep batch={{sizes}} {QUIET} --budget {{seconds + 1}}s --name braced\ndecode(batch, 3)")
    assert kernel.value("[braced.meta.axes, braced.meta.options['budget_s']]") == [{"batch": [1, 3]}, 3.0]
    reply = kernel.run("%%llmsweep batch={nothing_of_the_sort}\ndecode(batch, 3)")
    assert "{nothing_of_the_sort}: NameError" in reply.stderr


def test_a_cell_that_awaits_is_refused(kernel):
    reply = kernel.run("%%llmsweep batch=1\nimport asyncio\nawait asyncio.sleep(batch)")
    assert "the cell awaits" in reply.stderr


def test_a_syntax_error_is_pythons_own(kernel):
    reply = kernel.run("%%llmsweep batch=1\ndecode(batch, 3")
    assert reply.ename == "SyntaxError"


def test_a_global_that_a_called_function_reads_is_an_axis(kernel):
    kernel.setup("def run_it():\n    decode(width, 3)")
    kernel.setup(f"%%llmsweep width=1,2 {FAST} --name indirect\nrun_it()")
    assert kernel.value("indirect.points['tokens_out'].tolist()") == [5, 10]
    kernel.setup(f"%%llmsweep width=1,2 {FAST} --name timed\n%time run_it()")


def test_help_and_completion(kernel):
    reply = kernel.run("%%llmsweep -h\nran = True")
    assert reply.status == "ok"
    for word in ("batch=1,2,4", "--slo", "--trace-at", "profkit.sweep"):
        assert word in reply.stdout
    assert kernel.complete("%%llmsweep batch=1 --pri") == ["--price"]
    assert "%%llmsweep" in kernel.complete("%%llms")
