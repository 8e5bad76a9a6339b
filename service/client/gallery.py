"""The methods of both clients about the gallery. Knows requests, but not connections."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar, Unpack

from PIL import Image

from service.client import gallery_endpoints as endpoints
from service.client.endpoints import Call, Fit, Picture
from service.client.gallery_endpoints import Filters, New, SimilarityOptions, Value
from service.schemas.errors import Problem
from service.schemas.gallery import GalleryItem, Pair, UpsertResult
from service.schemas.images import Neighbour

A = TypeVar("A")

PAGE = 100
"""Images or pairs in one response."""


class Gallery(ABC):
    """Searches and changes the gallery."""

    @abstractmethod
    def _do(self, call: Call[A]) -> A: ...

    def similar(
        self,
        picture: Picture | None = None,
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> tuple[Neighbour, ...]:
        """Find the images most similar to an image, to `positive` ids, or to both.

        Images similar to `negative` ids rank lower. Best first; scores are cosines.
        """
        return self._do(endpoints.similar(picture, positive, negative, fit, options)).similar

    def similar_many(
        self,
        pictures: Sequence[Picture],
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> list[tuple[Neighbour, ...] | Problem]:
        """Find the images similar to each image. Results or problems are in the given order."""
        return self._do(endpoints.similar_many(pictures, positive, negative, fit, options))

    def similar_to(
        self, image_id: str, **options: Unpack[SimilarityOptions]
    ) -> tuple[Neighbour, ...]:
        """Find the images most similar to one of the gallery, without that one."""
        return self._do(endpoints.similar_to(image_id, options)).similar

    def gallery(self, *, page: int = PAGE, **filters: Unpack[Filters]) -> Iterator[GalleryItem]:
        """Yield the images of the gallery that match the filters, in the order of their ids."""
        cursor = ""
        while True:
            found = self._do(endpoints.page(filters, cursor, page))
            yield from found.items
            if found.next is None:
                return
            cursor = found.next

    def item(self, image_id: str) -> GalleryItem:
        """Return the metadata of an image of the gallery."""
        return self._do(endpoints.item(image_id))

    def image(self, image_id: str) -> Image.Image:
        """Return the pixels of an image of the gallery."""
        return self._do(endpoints.image(image_id))

    def add(
        self,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        id: str | None = None,
        key: str | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Add an image. With an `id` or a `key` (`Idempotency-Key`), a repetition adds nothing."""
        return self._do(endpoints.add(New(picture, label, attributes or {}, id), key, fit))

    def add_many(
        self, new: Sequence[New], *, key: str | None = None, fit: Fit = "crop"
    ) -> list[UpsertResult | Problem]:
        """Add several images. Results or problems are in the given order."""
        return self._do(endpoints.add_many(new, key, fit))

    def put(
        self,
        image_id: str,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Add an image under an id, or replace the image of that id."""
        return self._do(endpoints.put(image_id, New(picture, label, attributes or {}), fit))

    def edit(self, image_id: str, **changes: object) -> GalleryItem:
        """Change `label` or single `attributes`. None removes a label or an attribute."""
        return self._do(endpoints.edit(image_id, changes))

    def remove(self, image_id: str) -> None:
        """Remove an image from the gallery permanently."""
        self._do(endpoints.remove(image_id))

    def duplicates(
        self, *, layer: str = "conv2", threshold: float = 0.98, **filters: Unpack[Filters]
    ) -> Iterator[Pair]:
        """Yield all pairs of images whose cosine is at least the threshold."""
        cursor = ""
        while True:
            found = self._do(endpoints.duplicates(layer, threshold, cursor, PAGE, filters))
            yield from found.pairs
            if found.next is None:
                return
            cursor = found.next


class AsyncGallery(ABC):
    """`Gallery` with `await`."""

    @abstractmethod
    async def _do(self, call: Call[A]) -> A: ...

    async def similar(
        self,
        picture: Picture | None = None,
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> tuple[Neighbour, ...]:
        """Find the images most similar to an image, to `positive` ids, or to both.

        Images similar to `negative` ids rank lower. Best first; scores are cosines.
        """
        return (
            await self._do(endpoints.similar(picture, positive, negative, fit, options))
        ).similar

    async def similar_many(
        self,
        pictures: Sequence[Picture],
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **options: Unpack[SimilarityOptions],
    ) -> list[tuple[Neighbour, ...] | Problem]:
        """Find the images similar to each image. Results or problems are in the given order."""
        return await self._do(endpoints.similar_many(pictures, positive, negative, fit, options))

    async def similar_to(
        self, image_id: str, **options: Unpack[SimilarityOptions]
    ) -> tuple[Neighbour, ...]:
        """Find the images most similar to one of the gallery, without that one."""
        return (await self._do(endpoints.similar_to(image_id, options))).similar

    async def gallery(
        self, *, page: int = PAGE, **filters: Unpack[Filters]
    ) -> AsyncIterator[GalleryItem]:
        """Yield the images of the gallery that match the filters, in the order of their ids."""
        cursor = ""
        while True:
            found = await self._do(endpoints.page(filters, cursor, page))
            for item in found.items:
                yield item
            if found.next is None:
                return
            cursor = found.next

    async def item(self, image_id: str) -> GalleryItem:
        """Return the metadata of an image of the gallery."""
        return await self._do(endpoints.item(image_id))

    async def image(self, image_id: str) -> Image.Image:
        """Return the pixels of an image of the gallery."""
        return await self._do(endpoints.image(image_id))

    async def add(
        self,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        id: str | None = None,
        key: str | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Add an image. With an `id` or a `key` (`Idempotency-Key`), a repetition adds nothing."""
        return await self._do(endpoints.add(New(picture, label, attributes or {}, id), key, fit))

    async def add_many(
        self, new: Sequence[New], *, key: str | None = None, fit: Fit = "crop"
    ) -> list[UpsertResult | Problem]:
        """Add several images. Results or problems are in the given order."""
        return await self._do(endpoints.add_many(new, key, fit))

    async def put(
        self,
        image_id: str,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Add an image under an id, or replace the image of that id."""
        return await self._do(endpoints.put(image_id, New(picture, label, attributes or {}), fit))

    async def edit(self, image_id: str, **changes: object) -> GalleryItem:
        """Change `label` or single `attributes`. None removes a label or an attribute."""
        return await self._do(endpoints.edit(image_id, changes))

    async def remove(self, image_id: str) -> None:
        """Remove an image from the gallery permanently."""
        await self._do(endpoints.remove(image_id))

    async def duplicates(
        self, *, layer: str = "conv2", threshold: float = 0.98, **filters: Unpack[Filters]
    ) -> AsyncIterator[Pair]:
        """Yield all pairs of images whose cosine is at least the threshold."""
        cursor = ""
        while True:
            found = await self._do(endpoints.duplicates(layer, threshold, cursor, PAGE, filters))
            for pair in found.pairs:
                yield pair
            if found.next is None:
                return
            cursor = found.next
