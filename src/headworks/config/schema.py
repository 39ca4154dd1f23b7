"""What may stand in headworks.yaml: one struct per section, as people write it.

The structs are the source of the JSON Schema, of `docs/configuration.md` and of all checks. They
hold amounts as text ("30s", "20MB"); `settings` turns them into what the engine works with. Names
listed as `later` belong to the design but not to this version.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headworks.config import units
from headworks.config.schema_browsers import ClientTokens, Cors
from headworks.config.schema_budgets import Budget
from headworks.config.schema_failures import TargetName
from headworks.config.schema_ledger import Idempotency, Ledger
from headworks.config.schema_limits import Label, Limits, Project, Tag, User
from headworks.config.schema_models import Model
from headworks.config.schema_queue import KeyLimits, Queue
from headworks.config.schema_routes import Capability
from headworks.config.schema_stream import Buffered, Stream
from headworks.config.schema_upstreams import Upstream
from headworks.config.section import (
    Address,
    Count,
    Duration,
    ModelName,
    Name,
    Pause,
    Rate,
    Section,
    Size,
)
from headworks.types import OnDisconnect, OnLedgerFailure, Priority, Scope, Secret, Unpriced


class WebSocket(Section, frozen=True, kw_only=True):
    """What WebSocket connections may do."""

    max_message: Annotated[
        Size,
        Meta(description="Largest message that is accepted, either way.", examples=["16MB"]),
    ] = "16MB"
    longest: Annotated[
        Duration,
        Meta(description="How long a connection may last; providers end theirs after an hour."),
    ] = "60m"
    idle: Annotated[
        Duration,
        Meta(description="How long nobody may say anything on it.", examples=["10m"]),
    ] = "10m"


class Server(Section, frozen=True, kw_only=True):
    """Where headworks listens, and how much it takes."""

    later: ClassVar[frozenset[str]] = frozenset({"workers", "tls", "proxies"})

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
    max_upload: Annotated[
        Size,
        Meta(
            description="Largest request body that is no JSON, such as a form with a file: it passes "
            "through without being held.",
            examples=["25MB"],
        ),
    ] = "512MB"
    max_answer: Annotated[
        Size,
        Meta(
            description="Largest answer that is read whole; streams have no such bound.",
            examples=["128MB"],
        ),
    ] = "128MB"
    max_parallel: Annotated[
        Count | None,
        Meta(
            description="Calls that may be under way at once, of all keys together; any number "
            "when unset. A tenth is left to `interactive` ones.",
            examples=[500],
        ),
    ] = None
    websocket: Annotated[WebSocket, Meta(description="What WebSocket connections may do.")] = (
        WebSocket()
    )
    cors: Annotated[
        Cors | None,
        Meta(description="Which web pages may call; none when unset."),
    ] = None


class Log(Section, frozen=True, kw_only=True):
    """What is written down, and where."""

    later: ClassVar[frozenset[str]] = frozenset({"redact", "bodies"})

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
    file: Annotated[
        str | None,
        Meta(
            description="File for the calls' lines, which else go to standard error with the rest; "
            "relative to the working directory. It may be rotated.",
            examples=["/var/log/headworks/calls.jsonl"],
        ),
    ] = None


class Retry(Section, frozen=True, kw_only=True):
    """How failed attempts are repeated. Nothing is repeated after the first byte of an answer."""

    later: ClassVar[frozenset[str]] = frozenset({"hedge"})

    attempts: Annotated[
        int,
        Meta(ge=1, le=3, description="Attempts per call in all, over all routes.", examples=[2]),
    ] = 3
    first: Annotated[
        Duration,
        Meta(description="Upper bound of the first random wait; doubles each time."),
    ] = "0.5s"
    longest: Annotated[Duration, Meta(description="Upper bound of any random wait.")] = "8s"


class Grant(Section, frozen=True, kw_only=True):
    """What a key is for and may do, whether it stands in the file or is made at run time."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"paths", "guards", "cache", "ips", "environment", "user"}
    )

    name: Annotated[Name, Meta(description="Name in reports, unique.", examples=["web"])]
    project: Annotated[
        str, Meta(max_length=200, description="What its costs are booked on.", examples=["shop"])
    ] = ""
    models: Annotated[
        Annotated[tuple[ModelName, ...], Meta(min_length=1)] | None,
        Meta(description="Models it may use; all when unset.", examples=[["assistant"]]),
    ] = None
    scopes: Annotated[
        tuple[Scope, ...],
        Meta(
            description="What it may do besides using the API: `admin` opens the paths that "
            "administer the provider's account, with the upstream's `admin_credential`.",
            examples=[["admin"]],
        ),
    ] = ()
    limits: Annotated[KeyLimits, Meta(description="What it may do at most.")] = KeyLimits()
    priority: Annotated[
        Priority,
        Meta(
            description="The highest priority of its calls; x-headworks-priority may lower it.",
            examples=["batch"],
        ),
    ] = "interactive"
    budget: Annotated[Budget | None, Meta(description="What it may spend.")] = None
    client_tokens: Annotated[
        ClientTokens | None,
        Meta(description="The tokens that it may mint for browsers and phones; none when unset."),
    ] = None
    expires: Annotated[
        str | None,
        Meta(
            description="First moment at which it is no longer valid: date, or date and time; UTC "
            "unless it says otherwise.",
            examples=["2027-01-01", "2027-01-01T18:00:00+01:00"],
            extra={"read": units.moment},
        ),
    ] = None
    on_disconnect: Annotated[
        OnDisconnect,
        Meta(
            description="What becomes of a call whose app hangs up: `cancel` ends it at once, "
            "`drain` reads the answer that is under way to its end, so that it is booked exactly.",
            examples=["drain"],
        ),
    ] = "cancel"
    on_ledger_failure: Annotated[
        OnLedgerFailure,
        Meta(
            description="What becomes of its calls while the ledger cannot be written: `refuse` "
            "sends nothing, `continue` sends them and books them later.",
            examples=["continue"],
        ),
    ] = "refuse"
    unpriced: Annotated[
        Unpriced,
        Meta(
            description="What becomes of its calls to models whose price is not known: `flag` "
            "books them as unpriced, `refuse` does not send them.",
            examples=["refuse"],
        ),
    ] = "flag"
    stream: Annotated[Buffered, Meta(description="How its streams are cut.")] = Buffered()


class Key(Grant, frozen=True, kw_only=True):
    """A virtual key: what an app sends as its API key."""

    secret: Annotated[
        Secret,
        Meta(
            description="The key itself, at least 16 characters; best by reference.",
            examples=["${env:HEADWORKS_WEB_KEY}"],
            extra={"read": units.token},
        ),
    ]


class Price(Section, frozen=True, kw_only=True):
    """What a model costs, in US dollars per million tokens."""

    later: ClassVar[frozenset[str]] = frozenset({"written", "flex", "batch", "priority", "tiers"})

    input: Annotated[Rate, Meta(description="Tokens of the request.", examples=[1.25])]
    output: Annotated[Rate, Meta(description="Tokens of the answer.", examples=["10.00"])]
    cached: Annotated[
        Rate | None,
        Meta(description="Tokens read from the provider's cache; as `input` when unset."),
    ] = None
    second: Annotated[
        Rate | None,
        Meta(
            description="Each second of sound that is read, or of video that is made, where that "
            "is billed in the place of tokens.",
            examples=["0.0001"],
        ),
    ] = None
    character: Annotated[
        Rate | None,
        Meta(description="A million characters of speech, likewise.", examples=["15.00"]),
    ] = None
    image: Annotated[Rate | None, Meta(description="Each image, likewise.", examples=["0.04"])] = (
        None
    )


class Document(Section, frozen=True, kw_only=True):
    """The whole of headworks.yaml."""

    later: ClassVar[frozenset[str]] = frozenset({
        "budgets", "cache", "guards", "prompts", "alerts", "filters", "tools", "batch",
        "quality", "observe", "tracing", "metrics", "rollouts", "audit", "journal", "retention",
        "context", "routing", "degraded", "dashboard", "roles",
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
    ledger: Annotated[Ledger, Meta(description="How what calls cost is written down.")] = Ledger()
    idempotency: Annotated[
        Idempotency,
        Meta(description="What is kept of calls that carry an Idempotency-Key."),
    ] = Idempotency()
    stream: Annotated[Stream, Meta(description="How streams are passed on.")] = Stream()
    queue: Annotated[
        bool | Queue,
        Meta(
            description="How calls wait for a limit; `false` refuses them at once.",
            examples=[False],
        ),
    ] = Queue()
    unknown_ids: Annotated[
        Literal["refuse", "first"],
        Meta(
            description="What becomes of a call that refers to a response, file or the like that "
            "was not made through headworks, where several accounts could hold it: `first` asks "
            "the first credential of the first upstream.",
            examples=["first"],
        ),
    ] = "refuse"
    provider_sessions: Annotated[
        Literal["refuse", "allow"],
        Meta(
            description="What becomes of a call that opens a session with the provider itself "
            "(`realtime/client_secrets`, `realtime/calls` and the like), by a key for which limits, "
            "budgets or a list of models hold: none of them can hold in that session.",
            examples=["allow"],
        ),
    ] = "refuse"
    upstreams: Annotated[dict[Name, Upstream], Meta(description="Providers by name.")] = {}  # noqa: RUF012 - msgspec gives each its own
    models: Annotated[
        dict[ModelName, Model],
        Meta(
            description="Names that apps ask for; any other model goes to its upstream unchanged."
        ),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    keys: Annotated[tuple[Key, ...], Meta(description="Virtual keys that apps use.")] = ()
    limits: Annotated[Limits, Meta(description="What all keys together may do at most.")] = Limits()
    budget: Annotated[Budget | None, Meta(description="What all keys together may spend.")] = None
    projects: Annotated[
        dict[Label, Project], Meta(description="Projects by the names that keys give.")
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    users: Annotated[
        dict[Label, User],
        Meta(
            description="Users by the names that apps give in x-headworks-user; `default` holds for "
            "each one that is not named."
        ),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    tags: Annotated[
        dict[Label, Tag],
        Meta(description="Tags by the names that apps give in x-headworks-tags."),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    prices: Annotated[
        dict[ModelName, Price],
        Meta(description="Prices by model, laid over the built-in catalogue."),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
    capabilities: Annotated[
        dict[TargetName, Capability],
        Meta(
            description="What models take, by `upstream/model` or by model, laid over the built-in "
            "catalogue."
        ),
    ] = {}  # noqa: RUF012 - msgspec gives each its own
