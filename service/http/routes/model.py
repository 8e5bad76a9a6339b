"""`GET /model`: the model card of the bundle that is served."""

from fastapi import APIRouter

from service.http.dependencies import MAX_LIMIT, StateDep
from service.schemas.model import GalleryCard, InputCard, LayerCard, Limits, ModelCard, NoveltyCard
from training.bundle import MEDIA_TYPES, SIZE

router = APIRouter(tags=["model"])


@router.get("/model")
def model(state: StateDep) -> ModelCard:
    """Return the model card: classes, metrics, gallery, limits and caveats."""
    bundle, settings = state.bundle, state.settings
    manifest = bundle.manifest
    return ModelCard(
        name=manifest.name,
        version=manifest.version,
        run_id=manifest.run_id,
        created_at=manifest.created_at,
        classes=manifest.classes,
        metrics=manifest.metrics,
        dataset=manifest.dataset,
        gallery=GalleryCard(
            size=len(state.gallery),
            added=state.gallery.added,
            stale=state.gallery.outdated_count,
            pixels=manifest.gallery.pixels,
            layers={
                layer: LayerCard(
                    dimension=index.dimension, factory=index.factory, **dict(index.quality)
                )
                for layer, index in bundle.index_metadata.items()
            },
        ),
        novelty=NoveltyCard(**dict(manifest.novelty)) if manifest.novelty else None,
        engine=state.engine.description,
        input=InputCard(
            side=SIZE, formats=tuple(MEDIA_TYPES.values()), embeddings=dict(state.engine.dimensions)
        ),
        limits=Limits(
            body_bytes=settings.max_body_bytes,
            pixels=settings.max_pixels,
            images=settings.max_client_batch_size,
            neighbours=MAX_LIMIT,
            deadline_seconds=settings.request_timeout,
            connections=settings.max_connections,
        ),
        caveats=" ".join(bundle.card.partition("## Limits")[2].split()),
    )
