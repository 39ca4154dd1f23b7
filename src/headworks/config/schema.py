"""What may stand in headworks.yaml: one struct per section, as people write it.

The structs are the source of the JSON Schema, of `docs/configuration.md` and of all checks. They
hold amounts as text ("30s", "20MB"); `settings` turns them into what the engine works with. Names
listed as `later` belong to the design but not to this version.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headworks.config import units
from headworks.config.section import Duration, Section
from headworks.types import Secret

Pause = Annotated[str | int | float, Meta(extra={"read": units.pause})]
Size = Annotated[str | int, Meta(extra={"read": units.size})]
Rate = Annotated[str | int | float, Meta(extra={"read": units.rate})]
Address = Annotated[str, Meta(extra={"read": units.address})]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        extra={"form": "a name of at most 64 letters, digits, dots, hyphens and underscores"},
    ),
]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,200}\Z",
        extra={"form": "a model's name: at most 200 visible characters, no spaces"},
    ),
]
RouteName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[!-~]{1,200}\Z",
        extra={"form": "a route: upstream/model, such as openai/gpt-6-sol"},
    ),
]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class Server(Section, frozen=True, kw_only=True):
    """Where headworks listens, and how much it takes."""

    later: ClassVar[frozenset[str]] = frozenset({"workers", "tls", "proxies", "cors"})

    listen: Annotated[
        Address,
        Meta(
            description="Address of the data plane, /v1/…: host:port.",
            examples=["0.0.0.0:4000", "[::1]:4000"],
        ),
    ] = "127.0.0.1:4000"
    admin: Annotated[
        Address,
        Meta(
            description="Address of /healthz, /readyz and /metrics: host:port. Keep it private.",
            examples=["127.0.0.1:4001"],
        ),
    ] = "127.0.0.1:4001"
    drain: Annotated[
        Pause,
        Meta(
            description="How long a stop by SIGTERM waits for answers in flight.",
            examples=["600s", "0s"],
        ),
    ] = "600s"
    max_body: Annotated[
        Size, Meta(description="Largest request body that is accepted.", examples=["20MB"])
    ] = "20MB"
    max_answer: Annotated[
        Size,
        Meta(
            description="Largest answer that is read whole; streams have no such bound.",
            examples=["128MB"],
        ),
    ] = "128MB"


class Log(Section, frozen=True, kw_only=True):
    """What is written to standard error."""

    later: ClassVar[frozenset[str]] = frozenset({"redact", "bodies", "file"})

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severe level that is written.", examples=["warning"]),
    ] = "info"
    format: Annotated[
        Literal["json", "text"],
        Meta(description="`json` for machines, `text` for people.", examples=["text"]),
    ] = "json"
    calls: Annotated[
        bool, Meta(description="Whether each finished call gets a line.", examples=[False])
    ] = True


class Retry(Section, frozen=True, kw_only=True):
    """How failed attempts are repeated. Nothing is repeated after the first byte of an answer."""

    later: ClassVar[frozenset[str]] = frozenset({"budget", "hedge"})

    attempts: Annotated[
        int,
        Meta(ge=1, le=3, description="Attempts per call in all, over all routes.", examples=[2]),
    ] = 3
    first: Annotated[
        Duration,
        Meta(description="Upper bound of the first random wait; doubles each time."),
    ] = "0.5s"
    longest: Annotated[Duration, Meta(description="Upper bound of any random wait.")] = "8s"


class Credential(Section, frozen=True, kw_only=True):
    """A key of ours at a provider."""

    later: ClassVar[frozenset[str]] = frozenset({"limits", "weight"})

    name: Annotated[
        Name, Meta(description="Name in logs and metrics, unique per upstream.", examples=["main"])
    ]
    api_key: Annotated[
        Secret,
        Meta(
            description="The key, by reference only: never written into the file itself.",
            examples=["${env:OPENAI_API_KEY}", "${file:/run/secrets/openai}"],
            extra={"read": units.token},
        ),
    ]
    organization: Annotated[
        str | None,
        Meta(
            description="Sent as OpenAI-Organization.",
            examples=["org-123"],
            extra={"read": units.token},
        ),
    ] = None
    project: Annotated[
        str | None,
        Meta(
            description="Sent as OpenAI-Project.",
            examples=["proj_123"],
            extra={"read": units.token},
        ),
    ] = None


class Timeouts(Section, frozen=True, kw_only=True):
    """The four waits for an upstream."""

    connect: Annotated[Duration, Meta(description="For a connection, TLS included.")] = "5s"
    first_byte: Annotated[Duration, Meta(description="For a stream's first event.")] = "60s"
    idle: Annotated[Duration, Meta(description="Between two pieces of a stream.")] = "30s"
    total: Annotated[Duration, Meta(description="For the whole call, retries included.")] = "10m"


class ModelTimeouts(Section, frozen=True, kw_only=True):
    """The waits that are others for one model; what is not named is as the upstream's."""

    connect: Annotated[Duration | None, Meta(description="For a connection.")] = None
    first_byte: Annotated[
        Duration | None, Meta(description="For a stream's first event.", examples=["20s"])
    ] = None
    idle: Annotated[
        Duration | None, Meta(description="Between two pieces of a stream.", examples=["20s"])
    ] = None
    total: Annotated[Duration | None, Meta(description="For the whole call.")] = None


class Upstream(Section, frozen=True, kw_only=True):
    """A provider that speaks the OpenAI API."""

    later: ClassVar[frozenset[str]] = frozenset({"limits", "breaker", "region", "headers"})

    base_url: Annotated[
        str,
        Meta(
            description="Address up to and including the version, https only.",
            examples=["https://api.openai.com/v1"],
            extra={"read": units.base_url},
        ),
    ]
    allow_http: Annotated[
        bool,
        Meta(
            description="Allows http:// beyond this machine; keys and prompts then travel openly.",
            examples=[True],
        ),
    ] = False
    credentials: Annotated[
        tuple[Credential, ...],
        Meta(min_length=1, description="The keys to use there."),
    ]
    timeouts: Annotated[Timeouts, Meta(description="The four waits.")] = Timeouts()
    proxy: Annotated[
        Secret | None,
        Meta(
            description="HTTP proxy (CONNECT) on the way there; proxy variables are not read.",
            examples=["http://proxy.example:3128", "${env:PROXY_URL}"],
            extra={"read": units.proxy},
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        Meta(
            description="PEM file of the authorities to trust instead of the system's; "
            "relative to the configuration file.",
            examples=["/etc/ssl/private-ca.pem"],
        ),
    ] = None
    connections: Annotated[
        int, Meta(ge=1, le=65_535, description="Most connections at a time.", examples=[100])
    ] = 1000


class Model(Section, frozen=True, kw_only=True):
    """A name that apps ask for, and where it leads."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"stream", "on", "cache", "context", "rollout", "guards", "hedge", "strategy", "task"}
    )

    routes: Annotated[
        tuple[RouteName, ...],
        Meta(
            min_length=1,
            description="Upstream and model, `upstream/model`; fallback in this order.",
            examples=[["openai/gpt-6-sol", "openai/gpt-6-luna"]],
        ),
    ]
    patience: Annotated[
        Pause,
        Meta(
            description="How long a failed attempt may wait for the same route before the next "
            "one is taken.",
            examples=["0s"],
        ),
    ] = "5s"
    timeouts: Annotated[
        ModelTimeouts, Meta(description="Laid over the upstream's, any of the four.")
    ] = ModelTimeouts()


class KeyLimits(Section, frozen=True, kw_only=True):
    """What a key may do at most; what is not named has no limit."""

    later: ClassVar[frozenset[str]] = frozenset({"tpm", "rpd", "tpd", "usd", "queue"})

    rpm: Annotated[Count | None, Meta(description="Requests a minute.", examples=[60])] = None
    parallel: Annotated[Count | None, Meta(description="Requests at once.", examples=[8])] = None


class Key(Section, frozen=True, kw_only=True):
    """A virtual key: what an app sends as its API key."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"budget", "paths", "scopes", "guards", "cache", "ips", "environment", "user", "priority"}
    )

    name: Annotated[Name, Meta(description="Name in reports, unique.", examples=["web"])]
    secret: Annotated[
        Secret,
        Meta(
            description="The key itself, at least 16 characters; best by reference.",
            examples=["${env:HEADWORKS_WEB_KEY}"],
            extra={"read": units.token},
        ),
    ]
    project: Annotated[
        str, Meta(max_length=200, description="What its costs are booked on.", examples=["shop"])
    ] = ""
    models: Annotated[
        Annotated[tuple[ModelName, ...], Meta(min_length=1)] | None,
        Meta(description="Models it may use; all when unset.", examples=[["assistant"]]),
    ] = None
    limits: Annotated[KeyLimits, Meta(description="What it may do at most.")] = KeyLimits()
    expires: Annotated[
        str | None,
        Meta(
            description="First moment at which it is no longer valid: date, or date and time; UTC "
            "unless it says otherwise.",
            examples=["2027-01-01", "2027-01-01T18:00:00+01:00"],
            extra={"read": units.moment},
        ),
    ] = None


class Price(Section, frozen=True, kw_only=True):
    """What a model costs, in US dollars per million tokens."""

    later: ClassVar[frozenset[str]] = frozenset({"written", "flex", "batch", "priority", "tiers"})

    input: Annotated[Rate, Meta(description="Tokens of the request.", examples=[1.25])]
    output: Annotated[Rate, Meta(description="Tokens of the answer.", examples=["10.00"])]
    cached: Annotated[
        Rate | None,
        Meta(description="Tokens read from the provider's cache; as `input` when unset."),
    ] = None


class Document(Section, frozen=True, kw_only=True):
    """The whole of headworks.yaml."""

    later: ClassVar[frozenset[str]] = frozenset({
        "budget", "budgets", "cache", "guards", "prompts", "alerts", "filters", "tools", "batch",
        "quality", "observe", "tracing", "metrics", "rollouts", "audit", "journal", "retention",
        "context", "routing", "degraded", "users", "dashboard", "limits", "roles",
    })  # fmt: skip

    environment: Annotated[
        Name,
        Meta(
            description="Its file, headworks.<environment>.yaml, is laid over this one. "
            "The variable HEADWORKS_ENV goes before.",
            examples=["production"],
        ),
    ] = "development"
    server: Annotated[Server, Meta(description="Addresses and sizes.")] = Server()
    store: Annotated[
        str,
        Meta(
            description="Where ledger and keys are kept: sqlite:FILE, relative to the working "
            "directory.",
            examples=["sqlite:/var/lib/headworks/headworks.db"],
            extra={"read": units.store},
        ),
    ] = "sqlite:headworks.db"
    coordination: Annotated[
        str,
        Meta(
            description="Where limits are shared: local, in this process.",
            examples=["local"],
            extra={"read": units.coordination},
        ),
    ] = "local"
    key_pepper: Annotated[
        Secret | None,
        Meta(
            description="Secret under which virtual keys are hashed, at least 16 characters; when "
            "unset, a file with one is made beside the store. Changing it ends all stored keys.",
            examples=["${file:/run/secrets/pepper}"],
        ),
    ] = None
    log: Annotated[Log, Meta(description="What is logged.")] = Log()
    retry: Annotated[Retry, Meta(description="How attempts are repeated.")] = Retry()
    upstreams: Annotated[dict[Name, Upstream], Meta(description="Providers by name.")] = {}  # noqa: RUF012 - msgspec gives each its own
    models: Annotated[
        dict[ModelName, Model],
        Meta(
            description="Names that apps ask for; any other model goes to its upstream unchanged."
        ),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    keys: Annotated[tuple[Key, ...], Meta(description="Virtual keys that apps use.")] = ()
    prices: Annotated[
        dict[ModelName, Price],
        Meta(description="Prices by model, laid over the built-in catalogue."),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
