"""Secrets in a cell's code are cut out, and code that holds none stays as it is."""

import pytest

from profkit.capture.redact import REDACTED, redact

# Made up here, and put together at run time: a scanner of this repository has nothing to find.
HUGGING_FACE = "hf_" + "a1B2" * 8
OPENAI = "sk-" + "proj-" + "a1B2" * 8
GITHUB = "ghp_" + "a1B2" * 9
AWS = "AKIA" + "ABCD1234" * 2


@pytest.mark.parametrize("secret", [HUGGING_FACE, OPENAI, GITHUB, AWS])
@pytest.mark.parametrize("cell", ["login('{}')", "x = f(\n    '{}',\n)", "# {}", "!curl -H 'x: {}' host"])
def test_a_key_is_known_by_its_form(secret, cell):
    text = redact(cell.format(secret))
    assert secret not in text
    assert text == cell.format(REDACTED)


@pytest.mark.parametrize(
    "cell",
    [
        'API_KEY = "{}"',
        "api_key='{}'",
        'client = OpenAI(api_key="{}")',
        'password: str = "{}"',
        'os.environ["X_TOKEN"] = "{}"',
        'os.environ.setdefault("X_TOKEN", "{}")',
        'settings = {{"client_secret": "{}", "n": 1}}',
        'headers = {{"Authorization": "Bearer {}"}}',
        'token = """{}"""',
        'token = (\n    "{}"\n)',
        'token = rf"{}"',
        "openai.api_key = '{}'",
        "%env HF_TOKEN={}",
        "!HF_TOKEN={} python serve.py",
        "!serve --api-key {} --port 80",
        "%%bash\nexport DB_PASSWORD={}\nserve",
        'url = "https://user:{}@host/path"',
        'url = "https://host/v1?token={}&n=1"',
        'url = "https://host/v1?n=1&api_key={}"',
    ],
)
def test_a_value_is_secret_by_the_name_it_is_given_to(cell):
    text = redact(cell.format("correct-horse"))
    assert "correct-horse" not in text
    assert REDACTED in text


def test_no_part_of_a_value_stays():
    assert redact(r'''secret = "ab\"cd" "ef"''') == f'secret = "{REDACTED}" "{REDACTED}"'


def test_what_surrounds_a_secret_stays_readable():
    cell = 'url = "https://user:pw@host/v1?token=abc&n=1"\nmodel.generate(**inputs)'
    assert redact(cell) == f'url = "https://{REDACTED}@host/v1?token={REDACTED}&n=1"\nmodel.generate(**inputs)'


def test_a_private_key_goes_whole():
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----"
    assert redact(f"pem = '''{key}'''\nrun()") == f"pem = '''{REDACTED}'''\nrun()"


@pytest.mark.parametrize(
    "cell",
    [
        "model.generate(**inputs, max_new_tokens=32)",
        'tokenizer = AutoTokenizer.from_pretrained("gpt2")',
        'tokenizer.pad_token = "<pad>"',
        "tokenizer.pad_token = tokenizer.eos_token",
        'eos_token = "!"',
        'token = os.environ["HF_TOKEN"]',
        'password = getpass("Password: ")',
        "!huggingface-cli login --token $HF_TOKEN",
        'for token, text in zip(tokens, texts):\n    print(token, "->", text)',
        'url = "https://huggingface.co/models?sort=trending"',
        'x = {"keys": "abc", "n": 1}',
        'revision = "0123456789abcdef0123456789abcdef01234567"',
        "",
    ],
)
def test_code_of_an_inference_cell_stays_as_it_is(cell):
    assert redact(cell) == cell


def test_twice_is_once():
    cell = f'API_KEY = "abc"\n!x --token abc\nu = "https://a:b@h"\nlogin("{HUGGING_FACE}")'
    assert redact(redact(cell)) == redact(cell)
