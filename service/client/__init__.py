"""A typed client of the service.

    from service.client import Kindred

    with Kindred("http://localhost:8000") as kindred:
        answer = kindred.predict("cat.png")
        print(answer.predictions[0].label, [image.id for image in answer.similar["conv2"]])

`AsyncKindred` has the same methods with `await`. Needs httpx, pydantic, Pillow and NumPy; neither
torch nor FAISS. On the command line: `python -m service.client cat.png`.
"""

from service.client.client import AsyncKindred, Kindred
from service.client.endpoints import Fit, Picture
from service.client.gallery_endpoints import New
from service.client.models import ExperimentRecords, ExperimentSummary, Model
from service.client.retries import ProblemError, UnreachableError
from service.schemas.errors import Problem

__all__ = [
    "AsyncKindred",
    "ExperimentRecords",
    "ExperimentSummary",
    "Fit",
    "Kindred",
    "Model",
    "New",
    "Picture",
    "Problem",
    "ProblemError",
    "UnreachableError",
]
