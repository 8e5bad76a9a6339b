"""`GET /model`: the model card of the bundle that is served."""

from fastapi import APIRouter

from service.http.dependencies import MAX_LIMIT, StateDep
from service.schemas.model import (
    DecoderCard,
    GalleryCard,
    InputCard,
    LayerCard,
    LayerMapCard,
    Limits,
    MapCard,
    ModelCard,
    NetworkLayerCard,
    NoveltyCard,
    ReconstructionCard,
)
from training.bundle import MEDIA_TYPES, Layer, NetworkSpec

router = APIRouter(tags=["model"])


@router.get("/model")
def model(state: StateDep) -> ModelCard:
    """Return the model card: classes, metrics, gallery, limits and caveats."""
    bundle, settings, spec = state.bundle, state.settings, state.bundle.spec
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
        map=MapCard(
            layers={
                layer: LayerMapCard(trustworthiness=one.trustworthiness)
                for layer, one in bundle.map_metadata.items()
            }
        )
        if bundle.maps
        else None,
        reconstruction=ReconstructionCard(
            layers={
                layer: DecoderCard(psnr=one.psnr, ssim=one.ssim)
                for layer, one in manifest.decoders.items()
            }
        )
        if bundle.decoders
        else None,
        engine=state.engine.description,
        input=InputCard(
            side=spec.side,
            formats=tuple(MEDIA_TYPES.values()),
            embeddings=dict(state.engine.dimensions),
        ),
        family=spec.family,
        layers=tuple(_layer_card(spec, name) for name in spec.served),
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


def _layer_card(spec: NetworkSpec, name: Layer) -> NetworkLayerCard:
    layer = spec.layer(name)
    places = spec.layer(layer.summed_from).places if layer.summed_from else layer.places
    return NetworkLayerCard(
        name=name,
        title=layer.wording.title,
        description=layer.wording.description,
        length=layer.length,
        shape=layer.shape,
        searched=name in spec.searched,
        explanation=spec.explanation(name) if name in spec.searched else None,
        places=places,
    )
