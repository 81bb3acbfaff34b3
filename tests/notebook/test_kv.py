"""`%llmkv` in a real kernel."""

import json

import pytest

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 4096,
}


@pytest.fixture(scope="module", autouse=True)
def config(kernel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    kernel.setup(f"cfg = {CONFIG!r}\nlens = [100, 200]\nclass Held: config = cfg\nfolder = {str(folder)!r}")
    return folder


def refused(kernel, line):
    reply = kernel.run(f"%llmkv {line}")
    assert reply.ename == "UsageError"
    return " ".join(reply.stderr.split())


@pytest.mark.parametrize("line", ["cfg --gpu H200", "--gpu H200 cfg", "Held.config --gpu H200 --lengths lens"])
def test_a_variable_is_planned_and_shown_with_its_sliders(kernel, line):
    reply = kernel.run(f"%llmkv {line} --context 512 --batch 3 --name plan")
    assert reply.status == "ok"
    assert reply.kinds == ["display_data", "display_data"]
    assert kernel.value("[plan.batch, plan.context, plan.gpu.name]") == [3, 512, "H200 SXM"]


def test_a_path_is_planned(kernel, config):
    for path in (config, config / "config.json"):
        reply = kernel.run(f"%llmkv '{path}' --no-widget --name from_file")
        assert reply.kinds == ["display_data"]
        assert kernel.value("from_file.shape.model_type") == "llama"


def test_help_and_completion(kernel):
    reply = kernel.run("%llmkv -h")
    assert (reply.status, reply.kinds) == ("ok", ["stream"])
    assert "profkit.kv_plan" in reply.stdout
    assert kernel.complete("%llmkv cfg --kv") == ["--kv-dtype"]
    assert kernel.complete("%%llmprofile --kv") == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "%llmkv needs a config"),
        ("--gpu H200", "%llmkv needs a config"),
        ("missing", "missing is neither a variable nor a file or folder here"),
        ("cfg stray", "'stray' is no option"),
        ("cfg --kv-dtype fp3", "kv_dtype is one of fp32, bf16"),
        ("cfg --batch 0", "0 is not above 0"),
        ("cfg --context -1", "-1 is not above 0"),
        ("cfg --gpu H2O0", "did you mean 'H200 SXM'?"),
        ("cfg --tensor-parallel 3", "possible are 1, 2, 4"),
        ("cfg --lengths nothing", "NameError"),
        ("cfg --name cfg", "--name cfg is a dict already"),
        ("folder", "no config at"),
    ],
)
def test_wrong_lines_are_named(kernel, line, says):
    if line == "folder":
        kernel.setup("folder = '/nowhere'")
    assert says in refused(kernel, line)
