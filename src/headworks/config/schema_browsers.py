"""What may be said of callers in browsers and on phones: under `server.cors`, and of a key."""

from typing import Annotated, Literal

from msgspec import Meta

from headworks.config import units
from headworks.config.schema_limits import ModelLimits
from headworks.config.section import Pause, Section

Life = Annotated[str | int | float, Meta(extra={"read": units.token_life})]
Origin = Annotated[str, Meta(extra={"read": units.origin})]


class Cors(Section, frozen=True, kw_only=True):
    """Which web pages may call, by the rules that browsers keep (CORS)."""

    origins: Annotated[
        tuple[Origin, ...],
        Meta(
            min_length=1,
            description="Where the pages come from: scheme, host and port, as browsers send them "
            'in Origin. `"*"` alone allows every page there is.',
            examples=[["https://app.example.com"]],
        ),
    ]
    max_age: Annotated[
        Pause,
        Meta(
            description="How long a browser need not ask again whether it may.",
            examples=["1h"],
        ),
    ] = "10m"
    keys: Annotated[
        Literal["refuse", "allow"],
        Meta(
            description="What becomes of requests from pages that carry a key and not a client "
            "token: whoever sees the page can read the key.",
            examples=["allow"],
        ),
    ] = "refuse"


class ClientTokens(Section, frozen=True, kw_only=True):
    """What the tokens may be that a key mints for browsers and phones."""

    max_expiry: Annotated[
        Life,
        Meta(
            description="How long one lives at most, 1h or less; 10m where its app does not say.",
            examples=["15m"],
        ),
    ] = "1h"
    limits: Annotated[
        ModelLimits, Meta(description="What may be done with each of them at most.")
    ] = ModelLimits()
