"""Schemas of errors: RFC 9457 problems, and errors of single items."""

from typing import Generic, TypeVar

from pydantic import (
    Field,
)

from service.schemas.base import Schema


class FieldProblem(Schema):
    """What is wrong with one parameter."""

    location: str = Field(examples=["query.limit"])
    detail: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(Schema):
    """Why there is no answer (RFC 9457)."""

    type: str = Field(
        description="Names the kind of problem, for programs; about:blank: see the status.",
        examples=["urn:kindred:problem:queue-full"],
    )
    title: str = Field(examples=["Too busy"])
    status: int = Field(examples=[429])
    detail: str = Field(examples=["512 images wait and 512 may: try again later."])
    instance: str = Field(description="The path that was asked for.", examples=["/predict"])
    error: str = Field(description="The same as detail, for clients that look for it here.")
    errors: tuple[FieldProblem, ...] | None = Field(
        default=None, description="With 422: each parameter that is wrong."
    )


class ItemError(Schema):
    """Takes the place of the answer for one image among several."""

    error: Problem


A = TypeVar("A", bound=Schema)


class Results(Schema, Generic[A]):
    """Answers to several images, in their order; each its own, or why there is none."""

    results: tuple[A | ItemError, ...]
