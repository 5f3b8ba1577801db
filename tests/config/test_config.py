"""inhabit.toml: what is accepted, and how what is not is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhabit.config import Config, load_config, parse_config
from inhabit.errors import ConfigError

WHOLE = """
name = "home"
[server]
port = 9000
allowed_hosts = ["home.example"]
tenants = "several"
accept_missing_layers = ["landlock"]
[limits]
cpu_ms = 1000
[grants]
default = ["shop.**"]
ada = ["**", {pattern = "shop.orders.cancel", caveats = [{calls = 2}]}]
[mcp.files]
command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]
env = {MODE = "ro", TOKEN = {secret = "FILES_TOKEN"}}
[mcp.remote]
url = "https://mcp.example.com/mcp"
auth = "oauth"
[mcp.keyed]
url = "https://mcp.example.com/mcp"
auth = {secret = "KEY"}
[openapi.github]
source = "github.json"
base_url = "https://api.github.com"
secret = "GITHUB_TOKEN"
include = ["issues.*"]
[openapi.many]
source = "many.yaml"
secret = {apiKey = {secret = "A"}, bearer = {secret = "B"}}
[sql.crm]
path = "crm.db"
tables = {customers = ["id", "name"], orders = "*"}
[http.web]
allow = [{origin = "https://api.example.com", methods = ["GET"], path = "/v1/"}]
[python.shop]
module = "examples.shop.app:capabilities"
"""


def read(text: str) -> Config:
    return parse_config(text, Path("/etc/inhabit/inhabit.toml"))


def test_every_key_of_the_reference_file_is_read():
    config = read(WHOLE)
    assert (config.name, config.server.port, config.server.tenants) == ("home", 9000, "several")
    assert config.limits.cpu_ms == 1000 and config.limits.wall_ms > 1000
    assert config.mcp["files"].command == ("npx", "-y", "@modelcontextprotocol/server-filesystem", "/data")
    assert config.mcp["files"].env["TOKEN"].secret == "FILES_TOKEN"  # type: ignore[union-attr]
    assert config.mcp["remote"].auth == "oauth"
    assert config.mcp["keyed"].auth.secret == "KEY"  # type: ignore[union-attr]
    assert config.openapi["github"].secret.secret == "GITHUB_TOKEN"  # type: ignore[union-attr]
    assert config.openapi["many"].secret["bearer"].secret == "B"  # type: ignore[index]
    assert config.sql["crm"].tables == {"customers": ("id", "name"), "orders": "*"}
    assert config.http["web"].allow[0].methods == ("GET",)
    assert config.python["shop"].module == "examples.shop.app:capabilities"
    assert config.resolve(Path("crm.db")) == Path("/etc/inhabit/crm.db")


def test_an_empty_file_is_a_single_user_on_loopback():
    config = read("")
    assert config.server.host == "127.0.0.1" and config.server.tenants == "single"
    assert config.grants is None
    assert (config.retention.max_age_days, config.retention.max_bytes) == (30, 10 * 1024**3)


@pytest.mark.parametrize(("text", "says", "fix"), [
    ("nmae = 'x'", "inhabit.toml:1: unknown key nmae", "'name'"),
    ("[server]\nhost = 'x'\nprot = 1", "inhabit.toml:3: unknown key server.prot", "'port'"),
    ("[mcp.files]\ncomand = ['x']", "inhabit.toml:2: unknown key mcp.files.comand", "'command'"),
    ("[limits]\ncpu = 1", "inhabit.toml:2: unknown key limits.cpu", "'cpu_ms'"),
    ("[mcp.a]\ncommand = ['x']\nenv = {A = {secrt = 'X'}}", "inhabit.toml:3: unknown key mcp.a.env.A.secrt", "'secret'"),
    ("[mcp.a]\nurl = 'https://x'\nheaders = {A = {secret = 'X', prefx = 'y'}}", "inhabit.toml:3: unknown key mcp.a.headers.A.prefx", "'prefix'"),
    ("[mcp.a]\nurl = 'https://x'\nheaders = {X-Api-Key = 'CANARY'}", "the header X-Api-Key carries a credential", None),
    ("[mcp.a]\nurl = 'https://x'\nheaders = {Host = 'y'}", "inhabit.toml:3: mcp.a.headers.Host: 'Host' is no header", None),
    ("[mcp.a]\nurl = 'https://x'\nauth = 'oath'", "inhabit.toml:3: mcp.a.auth: it should be 'oauth'", None),
    ("[mcp.a]\nurl = 'https://x'\nclient_secret = 'S'", 'belong to a url with auth = "oauth"', None),
    ("[mcp.a]\ncommand = 'npx -y x'", "inhabit.toml:2: mcp.a.command: it is a list, not text", 'command = ["npx", "-y", "x"]'),
    ("[mcp.a]\ncommand = 'npx'\nargs = ['x']", "inhabit.toml:3: unknown key mcp.a.args", "command is the whole list"),
    ("[mcp.a]\ntype = 'stdio'\ncommand = ['npx']", "inhabit.toml:2: unknown key mcp.a.type", "leave it out"),
    ("[openapi.a]\nsource = 'x'\nsecret = {k = {secrt = 'x'}}", "inhabit.toml:3: unknown key openapi.a.secret.k.secrt", "'secret'"),
    ("[openapi.a]\nbase_url = 'https://x'", "inhabit.toml:1: openapi.a needs source", None),
    ("[python.x]\nmodule = 'a'", "is not of the form module:attribute", None),
    ("[sql.crm]\npath = 'x'\ntables = {a = '*'}\nwriteable = true", "inhabit.toml:4: unknown key sql.crm.writeable", "'writable'"),
    ("[opnapi.x]\nsource = 'x'", "inhabit.toml:1: unknown key opnapi", "'openapi'"),
    ("[http.web]\nallow = [{orgin = 'https://x'}]", "inhabit.toml:2: unknown key http.web.allow.0.orgin", "'origin'"),
    ("[server]\nport = 'x'", "inhabit.toml:2: server.port", None),
    ("[server]\nport = 70000", "inhabit.toml:2: server.port", None),
    ("[server", "inhabit.toml: ", None),
    ("[mcp.files]\ntrust_annotations = true", "either command or url", None),
    ("[mcp.files]\nurl = 'https://x'\nenv = {A = 'b'}", "belong to a command", None),
    ("[mcp.'no good']\nurl = 'https://x'", "a-z", None),
    ("[mcp.a]\nurl='https://x'\n[sql.a]\npath='x'\ntables={t='*'}", "the name 'a' is used by [mcp.a] and [sql.a]", None),
    ("[limits]\ncpu_ms = -1", "limit cpu_ms must be a finite number", None),
    ("[limits]\ncpu_ms = nan", "limit cpu_ms must be a finite number", None),
    ("name = 'x'\n[grants]\nbob = ['**']\nada = 'all'", "inhabit.toml:4: grants.ada: a grant's layer must be a list", None),
    ("[grants]\nada = [{pattern = '**', caveats = [{until = 1}]}]", "unknown or malformed caveat", None),
    ("base = '/'", "unknown key base", None),
    ("[retention]\nmax_age_days = 0", "inhabit.toml:2: retention.max_age_days", None),
    ("[retention]\nmax_age_days = inf", "inhabit.toml:2: retention.max_age_days", None),
    ("[retention]\nmax_age_days = true", "inhabit.toml:2: retention.max_age_days", None),
    ("[retention]\nmax_age_days = '30'", "inhabit.toml:2: retention.max_age_days", None),
    ("[retention]\nmax_age_days = 1e12", "inhabit.toml:2: retention.max_age_days", None),
    ("[mcp.a]\nurl = 'https://x'\nauth = {type = 'oauth'}", "inhabit.toml:3: ", None),
    ("[retention]\nmax_bytes = -1", "inhabit.toml:2: retention.max_bytes", None),
    ("[retention]\ndays = 3", "inhabit.toml:2: unknown key retention.days", "'max_age_days'"),
    ("[http.web]\nallow = []", "http.web.allow", None),
    ("[http.web]\nallow = ['https://x']", "inhabit.toml:2: http.web.allow.0: it should be a table", None),
    ("[http.web]\nallow = [{origin = 'https://x/path'}]", "origin", None),
])
def test_a_mistake_is_named_with_file_line_and_fix(text: str, says: str, fix: str | None):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert says in caught.value.message and "instance of" not in caught.value.message
    assert fix is None or fix in (caught.value.fix or "")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "inhabit.toml")
    assert "inhabit init" in (caught.value.fix or "")


@pytest.mark.parametrize(("text", "said", "fix"), [
    ('[mcp.a]\ncommand = "npx -y foo"', ":2: mcp.a.command: it is a list, not text", 'command = ["npx", "-y", "foo"]'),
    ('[openapi.a]\nsource = "x"\ninclude = "repos.*"', ":3: openapi.a.include: it is a list", 'include = ["repos.*"]'),
    ('[http.a]\nallow = [{origin = "api.example.com"}]', "it is no origin: scheme and host", 'e.g. "https://api.example.com"'),
    ('[http.a]\nallow = [{origin = "https://api.example.com/v1"}]', "it is no origin", 'e.g. "https://api.example.com"'),
    ('[mcp.a]\nurl = "mcp.example.com"', ":2: mcp.a.url: it is no http or https address", 'e.g. "https://mcp.example.com/mcp"'),
])
def test_a_wrong_form_is_said_in_words_with_an_example(text: str, said: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("inhabit.toml"))
    assert said in caught.value.message and caught.value.fix == fix
    assert "^" not in caught.value.message
