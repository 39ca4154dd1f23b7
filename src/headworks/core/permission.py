"""What a caller may ask for, by its key."""

from headworks.core.client_tokens import check_path
from headworks.core.endpoints import endpoint
from headworks.core.naming import models_within
from headworks.core.routing import not_administered
from headworks.errors import ModelNotAllowed, PathNotAllowed
from headworks.types import Caller, Request


def authorise(caller: Caller, request: Request) -> None:
    """Return if the caller may make this request.

    Raises:
        ModelNotAllowed: As `authorise_model`.
        PathNotAllowed: Likewise; or the path is none for client tokens, or for keys without a scope.
    """
    if caller.token is not None:
        check_path(request)
    if request.is_admin:
        if "admin" not in caller.scopes:
            raise not_administered()
        return
    authorise_model(caller, request)


def authorise_model(caller: Caller, request: Request) -> None:
    """Return if the caller may use the model of this request.

    A key that is restricted to models may only make requests that name one of them: of any other
    request we cannot tell which model it would use. What is asked for over a connection is looked at
    each time.

    Raises:
        ModelNotAllowed: The request names a model that the key may not use.
        PathNotAllowed: The key is restricted to models and the request names none.
    """
    models, model = caller.models, request.model
    if models is None or request.path == "/v1/models" or (request.socket and not model):
        return
    is_allowed = model in models or request.path.removeprefix("/v1/models/") in models
    if is_allowed and request.fields:
        is_opaque = not endpoint(request.method, request.path).takes_model
        within = models_within(request.fields, everywhere=is_opaque)
        model = next((one for one in within if one not in models), "")
        is_allowed = not model
    if is_allowed:
        return
    allowed = ", ".join(sorted(models))
    if model:
        raise ModelNotAllowed(
            f"The key {caller.name!r} may not use the model {model[:128]!r}; it may use {allowed}.",
            param="model",
        )
    raise PathNotAllowed(
        f"The key {caller.name!r} is restricted to models ({allowed}), "
        f"and a request to {request.path[:128]} names none."
    )
