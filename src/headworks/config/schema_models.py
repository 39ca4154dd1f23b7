"""What may stand in headworks.yaml about the names that apps ask for."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headworks.config.schema_context import Alone, Context
from headworks.config.schema_failures import Filtered, Hedge, ModelStream, On
from headworks.config.schema_routes import Step
from headworks.config.schema_upstreams import ModelTimeouts
from headworks.config.section import Pause, Section


class Model(Section, frozen=True, kw_only=True):
    """A name that apps ask for, and where it leads."""

    later: ClassVar[frozenset[str]] = frozenset({"cache", "rollout", "guards", "task"})

    routes: Annotated[
        tuple[Step, ...],
        Meta(
            min_length=1,
            description="Upstream and model, `upstream/model`, or groups of them; fallback in this "
            "order.",
            examples=[
                ["openai/gpt-6-sol", "openai/gpt-6-luna"],
                [{"least_latency": ["east/gpt-6-sol", "west/gpt-6-sol"]}, "openai/gpt-6-luna"],
            ],
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
    stream: Annotated[ModelStream, Meta(description="How streams are passed on.")] = ModelStream()
    on: Annotated[
        On, Meta(description="Other models or routes for some kinds of failures, by kind.")
    ] = On()
    content_filter: Annotated[
        Literal["propagate"] | Filtered,
        Meta(
            description="What is done where the provider's content filter stopped the request or "
            "the answer.",
            examples=[{"reroute": "careful"}, {"answer": "I cannot help with that."}],
        ),
    ] = "propagate"
    hedge: Annotated[
        Hedge | None,
        Meta(
            description="Whether a second attempt is sent beside one that is late; when unset, "
            "none is.",
            examples=[{"after": "p95"}],
        ),
    ] = None
    context: Annotated[
        Alone | Context | None,
        Meta(
            description="What is done with a request that is longer than the model's window; when "
            "unset it is sent, and the provider refuses it.",
            examples=["drop_oldest", {"strategy": "summarize", "model": "small", "last": 6}],
        ),
    ] = None
