"""What speaks, and whether it can."""

from fastapi import APIRouter, Request, Response

from serving.desk import caller, desk_of
from serving.phase import Phase
from serving.problems import Problem
from serving.schema import Health, ModelInfo, ModelList, errors

router = APIRouter(tags=["state"])


@router.get("/health", responses={503: {"model": Health, "description": "The voice is being loaded, or could not be."}})
async def health(http: Request, response: Response) -> Health:
    """Say whether the voice can speak. Needs no key; without one it names nobody."""
    station = desk_of(http).station
    if station.phase is not Phase.READY:
        response.status_code = 503
        return Health(status=station.phase, voice=None, kind=None)
    if not caller(http).is_known:
        return Health(status=Phase.READY, voice=None, kind=None)
    identity = station.cast.identity
    return Health(status=Phase.READY, voice=identity.name, kind=identity.kind)


@router.get("/v1/models", responses=errors(401, 403, 503))
async def models(http: Request) -> ModelList:
    """List the one model, and the hash of what it consists of."""
    return ModelList(object="list", data=[_model(http)])


@router.get("/v1/models/{model}", responses=errors(401, 403, 404, 503))
async def model(http: Request, model: str) -> ModelInfo:
    """Describe the model."""
    desk = desk_of(http)
    if model not in (desk.station.cast.identity.name, *desk.settings.openai_models):
        raise Problem(404, f"there is no model {model[:64]!r}.", "model_not_found", param="model")
    return _model(http)


def _model(http: Request) -> ModelInfo:
    desk = desk_of(http)
    on_air = desk.station.cast.identity
    return ModelInfo(
        id=on_air.name,
        object="model",
        created=desk.started,
        owned_by="local",
        kind=on_air.kind,
        base=on_air.base,
        pack=on_air.pack,
    )
