"""A profiled cell that ends early: the error is the user's, the record up to it is kept."""

import json

import pytest

MAGIC = "%%llmprofile --no-widget --no-save"


def error_of(kernel, run="__import__('profkit').last"):
    return kernel.value(f"{run}.meta.error")


@pytest.fixture(scope="module", autouse=True)
def work(kernel):
    kernel.setup("import asyncio, torch\ndef work():\n    torch.ones(9).cumsum(0)")


def test_exception_is_the_reply_and_the_record_up_to_it_is_kept(kernel):
    reply = kernel.run(f"{MAGIC} --name failed\nwork()\nx = 1 / 0\nreached = 2")
    assert (reply.status, reply.ename, reply.evalue) == ("error", "ZeroDivisionError", "division by zero")
    assert reply.kinds == ["error", "summary"]
    assert kernel.value("failed is __import__('profkit').last") is True
    assert error_of(kernel, "failed") == "ZeroDivisionError: division by zero"
    assert kernel.value("'aten::cumsum' in set(failed.events.name)") is True
    assert "ZeroDivisionError: division by zero" in reply.summaries[0]["text/plain"]
    assert "ZeroDivisionError: division by zero" in reply.summaries[0]["text/html"]
    assert kernel.value("'reached' in globals()") is False


def test_traceback_shows_the_users_line_once_and_none_of_ours(kernel):
    reply = kernel.run(f"{MAGIC}\nx = 1\n\nif x:\n    raise LookupError('here')  # the user's\n")
    (text,) = reply.tracebacks
    assert "----> 5     raise LookupError('here')  # the user's" in text
    assert f"Cell In[{reply.count}], line 5" in text
    assert text.count("LookupError: here") == 1
    assert "profkit" not in text
    assert reply.stderr.count("LookupError") == 0


def test_traceback_of_a_function_from_another_cell_points_there(kernel):
    count = kernel.run("def fails():\n    x = 1\n    raise LookupError('there')").count
    (text,) = kernel.run(f"{MAGIC}\nfails()").tracebacks
    assert f"Cell In[{count}], line 3, in fails()" in text
    assert "----> 3     raise LookupError('there')" in text


def test_exception_stops_run_all(kernel):
    replies = kernel.run_all("before = 1", f"{MAGIC}\nraise ValueError('stop')", "after = 1", "later = 1")
    assert [reply.status for reply in replies] == ["ok", "error", "aborted", "aborted"]
    assert kernel.value("['before' in globals(), 'after' in globals()]") == [True, False]


def test_profiled_cells_without_an_error_do_not_stop_run_all(kernel):
    replies = kernel.run_all(f"{MAGIC}\n1", f"{MAGIC}\n2", "3")
    assert [reply.results for reply in replies] == [["1"], ["2"], ["3"]]


def test_wrong_option_stops_run_all(kernel):
    replies = kernel.run_all("%%llmprofile --no-such\n1", "2")
    assert [reply.status for reply in replies] == ["error", "aborted"]


def test_secret_in_an_error_is_not_kept(kernel):
    kernel.run(f"{MAGIC}\nraise ValueError('401 for https://x.y/?api_key=' + 's3cr3t' * 4)")
    assert "s3cr3t" not in error_of(kernel)
    assert error_of(kernel).startswith("ValueError: 401 for https://x.y/")


def test_interrupt_keeps_the_record(kernel):
    reply = kernel.interrupt_when(
        f"{MAGIC} --name stopped\nwork()\nprint('started')\nwhile True:\n    work()", "started"
    )
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    assert reply.kinds == ["stream", "error", "summary"]
    assert error_of(kernel, "stopped") == "KeyboardInterrupt"
    assert kernel.value("'aten::cumsum' in set(stopped.events.name)") is True
    assert kernel.run(f"{MAGIC}\n'next'").results == ["'next'"]
    assert error_of(kernel) is None


def test_interrupt_of_an_await_keeps_the_record(kernel):
    reply = kernel.interrupt_when(
        f"{MAGIC} --name stopped_await\nwork()\nprint('started')\n"
        "while True:\n    await asyncio.sleep(0.01)",  # the kernel sees an interrupt when its loop wakes up
        "started",
    )
    assert (reply.status, reply.ename) == ("error", "CancelledError")
    assert len(reply.summaries) == 1
    assert error_of(kernel, "stopped_await") == "CancelledError"
    assert kernel.value("'aten::cumsum' in set(stopped_await.events.name)") is True
    assert kernel.run(f"{MAGIC}\nawait asyncio.sleep(0, 'next')").results == ["'next'"]


def test_interrupt_in_an_unprofiled_pass_leaves_nothing_open(kernel):
    reply = kernel.interrupt_when(f"{MAGIC} --repeat 2\nprint('started')\nwhile True:\n    pass", "started")
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    assert reply.kinds == ["stream", "error"]
    assert kernel.run(f"{MAGIC}\n1").kinds == ["execute_result", "summary"]


def test_interrupt_of_the_line_form_keeps_the_record(kernel):
    kernel.setup("def forever():\n    print('started')\n    while True:\n        work()")
    reply = kernel.interrupt_when("%llmprofile --no-save --no-widget --name line forever()", "started")
    assert (reply.status, reply.ename) == ("error", "KeyboardInterrupt")
    assert len(reply.summaries) == 1
    assert error_of(kernel, "line") == "KeyboardInterrupt"


def test_interrupt_while_the_record_is_made_leaves_nothing_open(kernel):
    kernel.setup(
        "import profkit.capture.session as session\n"
        "def interrupted(real=session.environment):\n"
        "    session.environment = real\n    raise KeyboardInterrupt\n"
    )
    reply = kernel.run(f"{MAGIC}\nsession.environment = interrupted\n'value'")
    assert reply.results == ["'value'"]
    assert reply.summaries == []
    assert kernel.run("'plain'").kinds == ["execute_result"]
    assert kernel.run(f"{MAGIC}\n1").kinds == ["execute_result", "summary"]


def test_failing_gpu_at_the_end_leaves_nothing_open(kernel):
    kernel.setup(
        "import profkit.capture.session as session\n"
        "def failing(real=session.synchronize):\n"
        "    session.synchronize = real\n    raise RuntimeError('CUDA error: an illegal memory access')\n"
    )
    assert kernel.run(f"{MAGIC}\nsession.synchronize = failing\n'value'").results == ["'value'"]
    after = kernel.run(f"{MAGIC}\n1")
    kernel.setup("if session.active(): session.active().stop()")
    assert after.kinds == ["execute_result", "summary"]


def test_exception_in_the_line_form(kernel):
    kernel.setup("def fails():\n    raise LookupError('there')")
    reply = kernel.run("%llmprofile --no-save --no-widget --name line_failed fails()")
    assert (reply.status, reply.ename) == ("error", "LookupError")
    assert reply.kinds == ["summary", "error"]
    assert error_of(kernel, "line_failed") == "LookupError: there"
    (text,) = reply.tracebacks
    assert text.count("LookupError: there") == 1
    assert "profkit" not in text


def test_exception_in_a_cell_called_from_code_shows_its_line(kernel):
    reply = kernel.run("get_ipython().run_cell_magic('llmprofile', '--no-save --no-widget', 'x = 1\\n1 / 0')")
    assert (reply.status, reply.ename) == ("error", "ZeroDivisionError")
    assert "----> 2 1 / 0" in reply.tracebacks[0]


@pytest.mark.parametrize("form", [MAGIC + " --repeat 2\n", "%llmprofile --no-save --no-widget --repeat 2 "])
def test_exception_in_an_unprofiled_pass_is_as_without_it(kernel, form):
    kernel.setup("calls = []\ndef fails():\n    calls.append(1)\n    raise LookupError('first pass')")
    reply = kernel.run(form + "fails()")
    assert (reply.status, reply.ename) == ("error", "LookupError")
    assert reply.summaries == []
    assert kernel.value("len(calls)") == 1
    assert kernel.run(f"{MAGIC}\n1").kinds == ["execute_result", "summary"]


def test_syntax_error_runs_nothing_and_shows_no_profile(kernel):
    reply = kernel.run(f"{MAGIC} --name unmade\nran = 1\nran = = 2")
    assert (reply.status, reply.ename) == ("error", "SyntaxError")
    assert reply.kinds == ["error"]
    assert "line 3" in reply.tracebacks[0]
    assert kernel.value("['ran' in globals(), 'unmade' in globals()]") == [False, False]


def test_profile_in_a_profile_is_refused(kernel):
    reply = kernel.run(f"{MAGIC} --name outer\nimport profkit\nwith profkit.profile('inner'):\n    inner_ran = 1")
    assert (reply.status, reply.ename) == ("error", "ProfilerBusyError")
    assert "profile 'outer' is running already" in reply.evalue
    assert len(reply.summaries) == 1
    assert kernel.value("'inner_ran' in globals()") is False


def test_line_magic_in_a_profiled_cell_is_refused(kernel):
    reply = kernel.run(f"{MAGIC} --name outer\n%llmprofile inner_ran = 1")
    assert reply.status == "error"
    assert "profile 'outer' is running already" in reply.stderr
    assert kernel.value("'inner_ran' in globals()") is False


def test_magic_inside_a_profile_block_is_refused(kernel):
    reply = kernel.run(
        "import profkit\n"
        "with profkit.profile('block') as block:\n"
        "    get_ipython().run_cell_magic('llmprofile', '', 'inner_ran = 1')"
    )
    assert reply.status == "error"
    assert "profile 'block' is running already" in reply.stderr
    assert kernel.value("[block.run.name, 'inner_ran' in globals()]") == ["block", False]


def test_torch_profiler_that_runs_already_is_named(kernel):
    kernel.setup("theirs = torch.profiler.profile()\ntheirs.__enter__()\nwork()")
    reply = kernel.run(f"{MAGIC}\nran_beside = 1")
    kernel.setup("theirs.__exit__(None, None, None)")
    assert reply.status == "error"
    assert "torch.profiler is running already" in reply.stderr
    assert "--no-trace" in reply.stderr
    assert kernel.value("'ran_beside' in globals()") is False
    assert kernel.value("'aten::cumsum' in {row.key for row in theirs.key_averages()}") is True


def test_beside_a_running_torch_profiler_without_a_trace(kernel):
    kernel.setup("theirs = torch.profiler.profile()\ntheirs.__enter__()")
    reply = kernel.run(f"{MAGIC} --no-trace --name light\nwork()")
    kernel.setup("theirs.__exit__(None, None, None)")
    assert (reply.status, reply.kinds) == ("ok", ["summary"])
    assert kernel.value("'aten::cumsum' in {row.key for row in theirs.key_averages()}") is True


def test_torch_profiler_in_the_cell_keeps_its_results_and_ours_says_so(kernel):
    reply = kernel.run(f"{MAGIC} --name shared\nwith torch.profiler.profile() as theirs:\n    work()\nprint('done')")
    assert reply.status == "ok"
    assert reply.stdout == "done\n"
    assert kernel.value("'aten::cumsum' in {row.key for row in theirs.key_averages()}") is True
    assert "torch.profiler itself" in json.dumps(kernel.value("shared.warnings"))
    assert "torch.profiler itself" in " ".join(reply.summaries[0]["text/plain"].split())
    assert kernel.value("len(shared.events)") == 0
    kernel.setup(f"{MAGIC} --name unshared\nwork()")
    assert kernel.value("['aten::cumsum' in set(unshared.events.name), unshared.warnings]") == [True, []]


def test_memory_of_the_cell_is_not_kept_by_the_profile(kernel):
    kernel.setup("import gc, weakref\nclass Big: pass")
    kernel.run(f"{MAGIC}\nbig = Big()\nseen = weakref.ref(big)")
    assert kernel.value("[globals().pop('big') and 0, gc.collect() and 0, seen() is None][2]") is True
