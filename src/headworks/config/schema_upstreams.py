"""What may stand in headworks.yaml about providers: addresses, keys, waits."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from headworks.config import units
from headworks.config.schema_health import Breaker, RetryBudget
from headworks.config.section import Duration, Name, Section
from headworks.core.endpoints import RequestType
from headworks.types import Secret

Amount = Annotated[int, Meta(ge=1, le=10**12)]


class Limits(Section, frozen=True, kw_only=True):
    """What is sent to a provider at most; its own limits are learned from its answers."""

    rpm: Annotated[Amount | None, Meta(description="Requests a minute.", examples=[500])] = None
    tpm: Annotated[
        Amount | None,
        Meta(description="Tokens a minute, as the provider charges them.", examples=[200_000]),
    ] = None


_Organization = Annotated[
    str | None,
    Meta(
        description="Sent as OpenAI-Organization.",
        examples=["org-123"],
        extra={"read": units.token},
    ),
]


class Credential(Section, frozen=True, kw_only=True):
    """A key of ours at a provider."""

    later: ClassVar[frozenset[str]] = frozenset({"weight"})

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
    organization: _Organization = None
    project: Annotated[
        str | None,
        Meta(
            description="Sent as OpenAI-Project.",
            examples=["proj_123"],
            extra={"read": units.token},
        ),
    ] = None
    limits: Annotated[
        Limits | None,
        Meta(
            description="What this key takes at most of each model, in place of the upstream's "
            "`limits`.",
            examples=[{"rpm": 100, "tpm": 50_000}],
        ),
    ] = None


class AdminCredential(Section, frozen=True, kw_only=True):
    """The key that administers our account at a provider."""

    api_key: Annotated[
        Secret,
        Meta(
            description="The admin key, by reference only: never written into the file itself.",
            examples=["${env:OPENAI_ADMIN_KEY}"],
            extra={"read": units.token},
        ),
    ]
    organization: _Organization = None


Whole = Annotated[
    Duration | None,
    Meta(
        description="For the beginning of an answer that is not streamed, which comes when all of "
        "it is made; when unset, `total` alone bounds it.",
        examples=["60s"],
    ),
]


class Waits(Section, frozen=True, kw_only=True):
    """The waits that are others for one type of requests, any of the four."""

    connect: Annotated[Duration | None, Meta(description="For a connection.")] = None
    first_byte: Annotated[
        Duration | None, Meta(description="For a stream's first content.", examples=["20s"])
    ] = None
    first_byte_whole: Whole = None
    idle: Annotated[
        Duration | None, Meta(description="Between two pieces of an answer.", examples=["20s"])
    ] = None
    total: Annotated[Duration | None, Meta(description="For the whole call.")] = None


ByType = Annotated[
    dict[RequestType, Waits],
    Meta(
        description="Waits that are others for some types of requests, by type.",
        examples=[{"responses": {"first_byte": "5m", "total": "30m"}}],
    ),
]


class Timeouts(Section, frozen=True, kw_only=True):
    """The four waits for an upstream."""

    connect: Annotated[Duration, Meta(description="For a connection, TLS included.")] = "5s"
    first_byte: Annotated[Duration, Meta(description="For a stream's first content.")] = "60s"
    first_byte_whole: Whole = None
    idle: Annotated[Duration, Meta(description="Between two pieces of an answer.")] = "30s"
    total: Annotated[Duration, Meta(description="For the whole call, retries included.")] = "10m"
    by_type: ByType = msgspec.field(default_factory=dict[RequestType, Waits])


class ModelTimeouts(Waits, frozen=True, kw_only=True):
    """The waits that are others for one model; what is not named is as the upstream's."""

    by_type: ByType = msgspec.field(default_factory=dict[RequestType, Waits])


class Upstream(Section, frozen=True, kw_only=True):
    """A provider that speaks the OpenAI API."""

    later: ClassVar[frozenset[str]] = frozenset({"region", "headers"})

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
    admin_credential: Annotated[
        AdminCredential | None,
        Meta(
            description="What calls of /v1/organization/… and /v1/projects/… are made with, by keys "
            "with the scope `admin`; nobody may make them when unset.",
            examples=[{"api_key": "${env:OPENAI_ADMIN_KEY}"}],
        ),
    ] = None
    timeouts: Annotated[Timeouts, Meta(description="The four waits.")] = Timeouts()
    breaker: Annotated[
        Breaker | bool,
        Meta(
            description="When a failing route is left alone; false: never, nor in a pause.",
            examples=[False, {"slow": "30s"}],
        ),
    ] = True
    retry_budget: Annotated[
        RetryBudget, Meta(description="How often calls that failed there may ask again.")
    ] = RetryBudget()
    limits: Annotated[
        Limits,
        Meta(
            description="What each account takes at most of each model, below the provider's own "
            "limits, which are learned.",
            examples=[{"rpm": 500, "tpm": 200_000}],
        ),
    ] = Limits()
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
        int,
        Meta(
            ge=1,
            le=65_535,
            description="Most connections at a time; a call has one.",
            examples=[100],
        ),
    ] = 10_000
