"""The names of the operations in the OpenAPI document, from which generators name functions.

They are part of the API: generated clients have them in their code.
"""

from typing import Final

OPERATIONS: Final = {
    "POST /predict": ("predict", "Classify images and find similar ones"),
    "POST /classify": ("classify", "Classify images"),
    "POST /similar": ("similar", "Find similar images"),
    "POST /embed": ("embed", "Embed images"),
    "GET /map": ("map", "Get the map of the gallery"),
    "POST /map": ("map_place", "Find the place of images on the map"),
    "POST /reconstruct": ("reconstruct", "Draw what a layer keeps of an image"),
    "GET /gallery/doubtful": ("gallery_doubtful", "Find labels in doubt"),
    "POST /gallery/duplicates": ("gallery_duplicates", "Find near-duplicates"),
    "POST /gallery": ("gallery_add", "Add images"),
    "GET /gallery": ("gallery_list", "List images"),
    "PUT /gallery/{image_id}": ("gallery_put", "Add or replace an image"),
    "PATCH /gallery/{image_id}": ("gallery_edit", "Change an image's label or attributes"),
    "DELETE /gallery/{image_id}": ("gallery_remove", "Remove an image"),
    "GET /gallery/{image_id}": ("gallery_item", "Get an image's metadata"),
    "GET /gallery/{image_id}/image": ("gallery_image", "Get an image's pixels"),
    "GET /gallery/{image_id}/reconstruction": (
        "gallery_reconstruction",
        "Draw what a layer keeps of a gallery image",
    ),
    "GET /gallery/{image_id}/similar": ("gallery_similar", "Find images similar to one"),
    "GET /experiments": ("experiments_list", "List experiments"),
    "GET /experiments/curves/{quantity}.svg": ("experiments_curves", "Draw all learning curves"),
    "GET /experiments/{name}": ("experiment", "Get an experiment with its records"),
    "GET /experiments/{name}/curves.svg": ("experiment_curves", "Draw learning curves"),
    "GET /model": ("model", "Get the model card"),
    "GET /livez": ("livez", "Check liveness"),
    "GET /readyz": ("readyz", "Check readiness"),
    "GET /metrics": ("metrics", "Get metrics"),
    "POST /admin/reload": ("reload", "Reload the bundle"),
    "GET /v2": ("v2_server", "Get the server's metadata"),
    "GET /v2/health/live": ("v2_live", "Check liveness"),
    "GET /v2/health/ready": ("v2_ready", "Check readiness"),
    "GET /v2/models/kindred": ("v2_model", "Get the model's metadata"),
    "GET /v2/models/kindred/ready": ("v2_model_ready", "Check whether the model is ready"),
    "GET /v2/models/kindred/versions/{version}": (
        "v2_version",
        "Get the metadata of a version of the model",
    ),
    "GET /v2/models/kindred/versions/{version}/ready": (
        "v2_version_ready",
        "Check whether a version of the model is ready",
    ),
    "POST /v2/models/kindred/infer": ("v2_infer", "Run the model"),
    "POST /v2/models/kindred/versions/{version}/infer": (
        "v2_version_infer",
        "Run a version of the model",
    ),
}
"""Method and path of each documented operation, with its id and its summary."""
