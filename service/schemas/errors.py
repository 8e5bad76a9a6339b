"""Schemas of errors: RFC 9457 problems, and errors of single items."""

from typing import Generic, Self, TypeVar

from pydantic import Field

from service.schemas.base import Schema


class FieldProblem(Schema):
    """One invalid parameter."""

    location: str = Field(examples=["query.limit"])
    detail: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(Schema):
    """An error response (RFC 9457)."""

    type: str = Field(examples=["urn:kindred:problem:queue-full"])
    """Identifies the kind of error, for programs; about:blank if the status does."""
    title: str = Field(examples=["Too many requests"])
    status: int = Field(examples=[429])
    detail: str = Field(
        examples=["512 images are in progress, and at most 512 may be. Try again later."]
    )
    instance: str = Field(examples=["/predict"])
    """The path of the request."""
    error: str
    """The same as detail, for clients that expect this field."""
    errors: tuple[FieldProblem, ...] | None = None
    """With 422: each invalid parameter."""

    @classmethod
    def of(
        cls,
        status: int,
        title: str,
        detail: str,
        path: str,
        *,
        type: str = "about:blank",
        errors: tuple[FieldProblem, ...] | None = None,
    ) -> Self:
        """Return the problem of a request."""
        return cls(
            type=type, title=title, status=status, detail=detail, instance=path, error=detail,
            errors=errors,
        )  # fmt: skip


class ItemError(Schema):
    """Replaces the result of one image among several if that image fails."""

    error: Problem


A = TypeVar("A", bound=Schema)


class Results(Schema, Generic[A]):
    """The results of several images in their order; each is a response or an error."""

    results: tuple[A | ItemError, ...]
