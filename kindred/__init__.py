"""A typed client of the service.

    import kindred

    with kindred.Client("http://localhost:8000") as client:
        answer = client.predict("cat.png")
        print(answer.predictions[0].label, [image.id for image in answer.similar["conv2"]])

`AsyncClient` has the same methods with `await`. Needs httpx, pydantic and Pillow. If NumPy is
installed, images may also be arrays, and embeddings are arrays. On the command line:
`kindred predict cat.png`.
"""

from kindred.client import AsyncClient, Client
from kindred.endpoints import Fit
from kindred.gallery_endpoints import New
from kindred.models import ExperimentRecords, ExperimentSummary, Model
from kindred.pictures import Picture
from kindred.retries import ProblemError, UnreachableError
from service.schemas.errors import Problem

__all__ = [
    "AsyncClient",
    "Client",
    "ExperimentRecords",
    "ExperimentSummary",
    "Fit",
    "Model",
    "New",
    "Picture",
    "Problem",
    "ProblemError",
    "UnreachableError",
]
