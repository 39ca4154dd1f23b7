"""A configuration is right as a whole, or every one of its faults is told."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from headworks.config import (
    Address,
    Config,
    PriceConfig,
    RouteConfig,
    default_config,
    find,
    known_secrets,
    load,
)
from headworks.config.loading import read
from headworks.core.grants import Grant
from headworks.errors import ConfigurationError
from headworks.types import RateLimits, Timeouts
from tests.config.files import BASE, KEY, MINIMAL, loaded, reader, refused

FULL = """\
environment: production
server: {listen: "0.0.0.0:80", admin: "127.0.0.1:81", drain: 0s, max_body: 1MiB, max_answer: 2MB}
store: sqlite:/data/x.db
coordination: local
key_pepper: "${file:pepper}"
log: {level: debug, format: text, calls: false}
retry: {attempts: 2, first: 1s, longest: 2s}
upstreams:
  openai:
    base_url: https://api.openai.com/v1/
    credentials:
      - {name: main, api_key: "${env:KEY}", organization: org-1, project: proj_1}
      - {name: spare, api_key: "${file:spare}"}
    timeouts: {connect: 1s, total: 5m}
    proxy: "http://user:${env:PROXY_PASSWORD}@proxy:3128"
    ca_file: ca.pem
    connections: "${env:CONNECTIONS}"
  local:
    base_url: http://127.0.0.1:8080/v1
    credentials: [{name: main, api_key: anything}]
models:
  assistant:
    routes: [openai/gpt-6-sol, local/org/model]
    patience: 0s
    timeouts: {first_byte: 20s}
keys:
  - name: web
    secret: "${env:WEB_KEY}"
    project: shop
    models: [assistant]
    limits: {rpm: 60, parallel: 8}
    expires: 2027-01-01
prices:
  my-model: {input: 1.25, output: "10", cached: 0.125}
"""
ENVIRON = {
    "PROXY_PASSWORD": "p%40ss-4821",
    "CONNECTIONS": "7",
    "WEB_KEY": "hw_web_0123456789abcdef",
}
FILES = {"pepper": "pepper-0123456789abcdef\n", "spare": "sk-spare-991\n", "ca.pem": "PEM"}


def test_every_key_takes_effect():
    """What I write is what the engine gets, in the engine's units."""
    config = loaded(FULL, ENVIRON, FILES)
    openai, local = config.upstreams["openai"], config.upstreams["local"]
    (key,) = config.keys
    assert config.environment == "production"
    assert config.server.listen == Address("0.0.0.0", 80)  # noqa: S104 - a value, nothing listens
    assert (config.server.drain, config.server.max_body) == (0.0, 1_048_576)
    assert config.store == Path("/data/x.db")
    assert (config.log.level, config.log.format, config.log.calls) == ("debug", "text", False)
    assert (config.retry.attempts, config.retry.first, config.retry.longest) == (2, 1.0, 2.0)
    assert openai.base_url == "https://api.openai.com/v1"
    assert [one.api_key.reveal() for one in openai.credentials] == [KEY, "sk-spare-991"]
    assert openai.credentials[0].organization == "org-1"
    assert openai.timeouts == Timeouts(connect=1.0, total=300.0)
    assert openai.proxy is not None
    assert openai.proxy.reveal() == "http://user:p%40ss-4821@proxy:3128"
    assert openai.ca_file == BASE.parent / "ca.pem"
    assert openai.connections == 7
    assert local.connections == 10_000
    assert config.models["assistant"].patience == 0.0
    assert config.models["assistant"].routes == (
        RouteConfig("openai", "gpt-6-sol", Timeouts(connect=1.0, first_byte=20.0, total=300.0)),
        RouteConfig("local", "org/model", Timeouts(first_byte=20.0)),
    )
    assert key.grant == Grant(
        name="web",
        project="shop",
        models=frozenset({"assistant"}),
        limits=RateLimits(rpm=60, parallel=8),
        expires=1_798_761_600.0,
    )
    assert config.prices == {"my-model": PriceConfig(1_250_000_000, 10**10, 125_000_000)}


def test_all_that_was_read_is_named_for_watching():
    """A change of any file that matters is noticed, of files that are not there yet too."""
    names = {path.name for path in loaded(FULL, ENVIRON, FILES).files}
    assert names == {
        "headworks.yaml", "headworks.production.yaml", "pepper", "spare", "ca.pem",
    }  # fmt: skip


def test_every_secret_is_known_for_redaction():
    """No secret of the configuration is forgotten when a log is cleaned."""
    revealed = {secret.reveal() for secret in known_secrets(loaded(FULL, ENVIRON, FILES))}
    assert revealed == {
        "pepper-0123456789abcdef", ENVIRON["WEB_KEY"], KEY, "sk-spare-991", "anything",
        "http://user:p%40ss-4821@proxy:3128", "p%40ss-4821", "p@ss-4821",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", "{}", "server:\nkeys:\n"])
def test_an_empty_file_is_the_defaults(text):
    """A file that says nothing is no mistake; that nothing can be answered is said."""
    config = loaded(text)
    assert config.server == Config().server
    assert (config.retry, config.log, config.store) == (
        Config().retry,
        Config().log,
        Config().store,
    )
    assert "no upstream is configured" in config.warnings[0]


def test_the_defaults_are_the_same_in_both_forms():
    """The documented defaults are the ones that hold."""
    config = loaded(MINIMAL)
    plain = Config()
    assert (config.server, config.log, config.retry) == (plain.server, plain.log, plain.retry)
    assert (config.environment, config.store) == (plain.environment, plain.store)
    assert config.upstreams["openai"].timeouts == Timeouts()


@dataclass(frozen=True)
class Case:
    text: str
    problem: str
    environ: dict[str, str] = field(default_factory=dict[str, str])


def upstream(**fields):
    start = {
        "base_url": "https://a.example/v1",
        "credentials": [{"name": "m", "api_key": "${env:KEY}"}],
    }
    return yaml.safe_dump({"upstreams": {"openai": {**start, **fields}}}, width=1000)


def key(**fields):
    start = {"name": "web", "secret": "0123456789abcdef"}
    return MINIMAL + yaml.safe_dump({"keys": [{**start, **fields}]}, width=1000)


PROBLEMS = [
    Case("sever: {}", "headworks.yaml:1: sever: unknown key, did you mean 'server'?"),
    Case("zzz: 1", "headworks.yaml:1: zzz: unknown key; known are environment, server, store, coordination, key_pepper, log, retry, ledger, idempotency, stream, queue, unknown_ids, provider_sessions, upstreams, models, keys, limits, budget, projects, users, tags, prices, capabilities"),
    Case("[a]", "headworks.yaml:1: expected a mapping of names to values"),
    Case("text", "headworks.yaml:1: expected a mapping of names to values"),
    Case("server: 5", "headworks.yaml:1: server: expected a mapping, not a whole number"),
    Case("server:\n  listn: x", "headworks.yaml:2: server.listn: unknown key, did you mean 'listen'?"),
    Case("server: {listen: 4000}", "headworks.yaml:1: server.listen: expected text, not a whole number; put it in quotes"),
    Case("server: {listen: 127.0.0.1:4001}", "headworks.yaml:1: server.listen: server.listen and server.admin need different ports"),
    Case("server: {admin: 0.0.0.0:4000}", "headworks.yaml:1: server.admin: server.listen and server.admin need different ports"),
    Case("log: {level: inof}", "headworks.yaml:1: log.level: must be one of debug, info, warning, error, did you mean 'info'?"),
    Case("log: {calls: yes}", "headworks.yaml:1: log.calls: expected true or false, not text"),
    Case("retry: {attempts: 4}", "headworks.yaml:1: retry.attempts: expected a whole number <= 3"),
    Case("retry: {first: 9s}", "headworks.yaml:1: retry.first: the first wait is longer than the longest one"),
    Case("store: postgresql://h/d", "headworks.yaml:1: store: this store is not available in this version of headworks; write sqlite:FILE"),
    Case("coordination: redis://h", "headworks.yaml:1: coordination: only local coordination is available in this version of headworks"),
    Case("cache: {}", "headworks.yaml:1: cache: not available in this version of headworks"),
    Case("key_pepper: short", "headworks.yaml:1: key_pepper: is shorter than 16 characters"),
    Case("environment: a/b", "headworks.yaml:1: environment: does not name an environment"),
    Case("environment: ..", "headworks.yaml:1: environment: does not name an environment"),
    Case(upstream(region="eu"), "headworks.yaml:7: upstreams.openai.region: not available in this version of headworks"),
    Case(upstream(base_url="http://a.example/v1"), "headworks.yaml:3: upstreams.openai.base_url: http:// would send keys and prompts openly; use https://, or set allow_http: true"),
    Case(upstream(base_url="https://u:p@a.example"), "headworks.yaml:3: upstreams.openai.base_url: must not hold a user name or password; put the key under credentials"),
    Case(upstream(credentials=[]), "headworks.yaml:4: upstreams.openai.credentials: the list is empty; name at least one"),
    Case(upstream(credentials="x"), "headworks.yaml:4: upstreams.openai.credentials: expected a list, not text"),
    Case(upstream(connections=0), "headworks.yaml:4: upstreams.openai.connections: expected a whole number >= 1"),
    Case(upstream(timeouts={"idle": "0s"}), "headworks.yaml:8: upstreams.openai.timeouts.idle: this duration must be longer than 0s"),
    Case(upstream(ca_file="nope.pem"), "headworks.yaml:4: upstreams.openai.ca_file: cannot read this file: No such file or directory"),
    Case(upstream(proxy="https://p:1"), "headworks.yaml:7: upstreams.openai.proxy: not a proxy; write http://host:port or http://user:password@host:port"),
    Case("upstreams: {a/b: {}}", 'headworks.yaml:1: upstreams."a/b": must be a name of at most 64 letters, digits, dots, hyphens and underscores'),
    Case("upstreams: {a: {credentials: []}}", "headworks.yaml:1: upstreams.a.base_url: is missing"),
    Case(MINIMAL + "models: {a: {routes: [opnai/x]}}", "headworks.yaml:5: models.a.routes[0]: there is no upstream 'opnai', did you mean 'openai'?"),
    Case(MINIMAL + "models: {a: {routes: [x]}}", "headworks.yaml:5: models.a.routes[0]: must be a route: upstream/model, such as openai/gpt-6-sol"),
    Case(MINIMAL + "models: {a: {routes: [openai/x, openai/x]}}", "headworks.yaml:5: models.a.routes[1]: this route stands here twice"),
    Case(MINIMAL + "models: {a: {routes: ['${env:KEY}/x']}}", "headworks.yaml:5: models.a.routes[0]: there is no upstream of that name"),
    Case(key(secret="short"), "headworks.yaml:7: keys[0].secret: is shorter than 16 characters"),
    Case(key(secret="0123456789abcdef x"), "headworks.yaml:7: keys[0].secret: holds a space, a line break or a character that is not ASCII"),
    Case(key(models=None), "headworks.yaml:6: keys[0].models: has no value; give it one, or leave it out"),
    Case(key(models=[]), "headworks.yaml:6: keys[0].models: the list is empty; name at least one"),
    Case(key(guards=["pii"]), "headworks.yaml:6: keys[0].guards: not available in this version of headworks"),
    Case(key(limits={"usd": 1}), "headworks.yaml:7: keys[0].limits.usd: not available in this version of headworks"),
    Case(key(limits={"rpm": 0}), "headworks.yaml:7: keys[0].limits.rpm: expected a whole number >= 1"),
    Case(key(expires="soon"), "headworks.yaml:6: keys[0].expires: not a date; write it as 2027-01-31 or 2027-01-31T18:00:00+01:00"),
    Case(MINIMAL + "keys: [{name: a, secret: 0123456789abcdef}, {name: a, secret: 0123456789abcdeg}]", "headworks.yaml:5: keys[1].name: another key has the same name"),
    Case(MINIMAL + "keys: [{name: a, secret: 0123456789abcdef}, {name: b, secret: 0123456789abcdef}]", "headworks.yaml:5: keys[1].secret: another key has the same secret"),
    Case("prices: {m: {input: -1, output: 1}}", "headworks.yaml:1: prices.m.input: not a price; write US dollars per million tokens, such as 1.25"),
    Case("prices: {m: {input: 1}}", "headworks.yaml:1: prices.m.output: is missing"),
    Case("", "HEADWORKS__SERVER__LISTN: server.listn: unknown key, did you mean 'listen'?", {"HEADWORKS__SERVER__LISTN": "x"}),
    Case("", "HEADWORKS__NOPE: nope: unknown key; known are environment, server, store, coordination, key_pepper, log, retry, ledger, idempotency, stream, queue, unknown_ids, provider_sessions, upstreams, models, keys, limits, budget, projects, users, tags, prices, capabilities", {"HEADWORKS__NOPE": "x"}),
    Case("", "HEADWORKS__STORE__X: store: expected text, not a mapping", {"HEADWORKS__STORE__X": "x"}),
    Case("", "HEADWORKS____X: names no setting: a part of its path is empty", {"HEADWORKS____X": "x"}),
    Case("", "HEADWORKS_ENV: environment: does not name an environment", {"HEADWORKS_ENV": "../x"}),
]  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.problem)
def test_a_mistake_is_told_with_its_place_and_a_way_out(case):
    """Each mistake gives one line: file, line, key, what is wrong."""
    assert case.problem in refused(case.text, case.environ)


def test_all_mistakes_are_told_at_once():
    """I run it once and know everything that I must change, in the order of the file."""
    text = """\
server: {listn: x, drain: 5 parsecs}
retry: {attempts: 9}
upstreams:
  openai:
    base_url: ftp://x
    credentials: [{name: main, api_key: "${env:NOPE}"}, {name: main, api_key: sk-literal}]
models: {a: {routes: [opnai/x]}}
keys: [{secret: short}]
"""
    said = [problem.split(": ")[:2] for problem in refused(text)]
    assert said == [
        ["headworks.yaml:1", "server.listn"],
        ["headworks.yaml:1", "server.drain"],
        ["headworks.yaml:2", "retry.attempts"],
        ["headworks.yaml:5", "upstreams.openai.base_url"],
        ["headworks.yaml:6", "upstreams.openai.credentials[0].api_key"],
        ["headworks.yaml:6", "upstreams.openai.credentials[1].name"],
        ["headworks.yaml:6", "upstreams.openai.credentials[1].api_key"],
        ["headworks.yaml:7", "models.a.routes[0]"],
        ["headworks.yaml:8", "keys[0].name"],
        ["headworks.yaml:8", "keys[0].secret"],
    ]


@pytest.mark.parametrize(
    ("api_key", "base_url", "is_fine"),
    [
        ("${env:KEY}", "https://a.example/v1", True),
        ("sk-simulator-1", "https://a.example/v1", True),
        ("anything", "http://localhost:1/v1", True),
        ("sk-literal", "https://a.example/v1", False),
        ("${env:NOPE:-sk-literal}", "https://a.example/v1", False),
        ("sk-${env:KEY}", "https://a.example/v1", False),
    ],
)
def test_a_providers_key_never_stands_in_the_file(api_key, base_url, is_fine):
    """A key in the file is refused, with the way to refer to it, unless it opens nothing."""
    text = upstream(base_url=base_url, credentials=[{"name": "m", "api_key": api_key}])
    problems = refused(text)
    assert bool(problems) is not is_fine
    assert is_fine or '"${env:OPENAI_API_KEY}"' in problems[0]
    assert "sk-literal" not in str(problems)


def test_the_environments_file_is_laid_over():
    """Production differs from development by one small file, whose problems bear its name."""
    over = "server: {drain: 1s}\nkeys:\nmodels: {a: {routes: [openai/z]}}\n"
    base = (
        key()
        + "server: {drain: 5s, max_body: 1MB}\nmodels: {a: {routes: [openai/x]}, b: {routes: [openai/y]}}\n"
    )
    files = {"headworks.production.yaml": over}
    config = loaded(base, {"HEADWORKS_ENV": "production"}, files)
    assert config.environment == "production"
    assert (config.server.drain, config.server.max_body) == (1.0, 1_000_000)
    assert config.keys == ()
    assert [route.model for route in config.models["a"].all_routes()] == ["z"]
    assert "b" in config.models
    assert loaded(base, {}, files).server.drain == 5.0
    assert loaded("environment: production\n" + base, {}, files).server.drain == 1.0
    assert loaded('environment: "${env:E}"\n' + base, {"E": "production"}, files).keys == ()
    bad = {"headworks.production.yaml": "\nserver: {drain: x}\nenvironment: other\n"}
    assert [one.split(": ")[:2] for one in refused(base, {"HEADWORKS_ENV": "production"}, bad)] == [
        ["headworks.production.yaml:2", "server.drain"],
        ["headworks.production.yaml:3", "environment"],
    ]


def test_variables_are_laid_over_files():
    """A container changes one value without a file."""
    environ = {
        "HEADWORKS__SERVER__LISTEN": "0.0.0.0:1",
        "HEADWORKS__RETRY__ATTEMPTS": "1",
        "HEADWORKS__LOG__CALLS": "false",
        "HEADWORKS__UPSTREAMS__OPENAI__CREDENTIALS__0__API_KEY": "sk-by-variable",
        "HEADWORKS__ENVIRONMENT": "staging",
    }
    config = loaded(MINIMAL, environ, {"headworks.staging.yaml": "retry: {attempts: 2}"})
    assert config.server.listen.port == 1
    assert config.retry.attempts == 1
    assert not config.log.calls
    assert config.upstreams["openai"].credentials[0].api_key.reveal() == "sk-by-variable"
    assert config.environment == "staging"


def test_what_is_hardly_meant_is_a_warning():
    """A key for a model without a route, and a secret in the file, are said but accepted."""
    two = MINIMAL + MINIMAL.removeprefix("upstreams:\n").replace("openai:", "other:", 1)
    text = two + "keys: [{name: a, secret: 0123456789abcdef, models: [nope, other/x]}]\n"
    assert [warning.split(": ", 1)[1] for warning in loaded(text).warnings] == [
        "keys[0].models[0]: no route leads to 'nope'",
        "keys[0].secret: a secret is written out here; better refer to it: ${env:NAME}",
    ]


def test_a_missing_file_is_said_with_a_way_out():
    """A wrong path says which file is missing and how to write one."""
    with pytest.raises(
        ConfigurationError, match=r"x\.yaml: cannot read this file: No such file.*init"
    ):
        load(Path("/nowhere/x.yaml"), {})


def test_a_key_alone_is_enough_to_start():
    """Without a file, the official client's variables make a configuration."""
    config = default_config({"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "http://localhost:9/v1/"})
    assert list(config.upstreams) == ["openai"]
    openai = config.upstreams["openai"]
    assert openai.base_url == "http://localhost:9/v1"
    assert [one.api_key.reveal() for one in openai.credentials] == ["sk-x"]
    assert (config.models, config.keys, config.warnings) == ({}, (), ())
    plain = default_config({"OPENAI_API_KEY": "sk-x", "OPENAI_ORG_ID": "org-1"})
    assert plain.upstreams["openai"].base_url == "https://api.openai.com/v1"
    assert plain.upstreams["openai"].credentials[0].organization == "org-1"


def test_with_nothing_at_all_the_ways_to_begin_are_offered():
    """Neither file nor key: I am told what is missing and how to try it without either."""
    with pytest.raises(ConfigurationError) as refusal:
        default_config({"OPENAI_API_KEY": ""})
    for words in (
        "OPENAI_API_KEY",
        "headworks init",
        "headworks demo",
        "headworks serve --simulate",
    ):
        assert words in str(refusal.value)


def test_the_key_variable_is_followed_as_text():
    """A key that looks like a reference is still a key."""
    config = default_config({"OPENAI_API_KEY": "sk-${env:HOME}"})
    assert config.upstreams["openai"].credentials[0].api_key.reveal() == "sk-${env:HOME}"


def test_the_file_is_found_by_variable_or_by_name(tmp_path, monkeypatch):
    """HEADWORKS_CONFIG names the file, else headworks.yaml here is taken, else none."""
    monkeypatch.chdir(tmp_path)
    assert find({}) is None
    (tmp_path / "headworks.yaml").write_text("")
    assert find({}) == Path("headworks.yaml")
    assert find({"HEADWORKS_CONFIG": "/x/y.yaml"}) == Path("/x/y.yaml")


def test_what_is_shown_is_what_takes_effect_without_secrets():
    """I can paste the output of `show` into a ticket."""
    files = {"headworks.yaml": FULL, **FILES}
    shown = read(BASE, {"KEY": KEY, **ENVIRON}, reader(files)).as_yaml()
    values = yaml.safe_load(shown)
    assert values["server"]["drain"] == "0s"
    assert values["upstreams"]["openai"]["timeouts"]["idle"] == "30s"
    assert values["upstreams"]["openai"]["credentials"][1] == {"name": "spare", "api_key": "***"}
    assert values["keys"][0]["secret"] == values["key_pepper"] == "***"
    for secret in known_secrets(loaded(FULL, ENVIRON, FILES)):
        assert secret.reveal() not in shown
