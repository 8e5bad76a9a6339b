"""The gallery's part of both clients. Knows calls; nothing of connections."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar, Unpack

from PIL import Image

from service.client import gallery_endpoints as calls
from service.client.endpoints import Call, Fit, Picture
from service.client.gallery_endpoints import Filters, Likeness, New, Value
from service.schemas.errors import Problem
from service.schemas.gallery import GalleryItem, Pair, UpsertResult
from service.schemas.images import Neighbour

A = TypeVar("A")

PAGE = 100


class Gallery(ABC):
    """What can be asked of the gallery, and done to it."""

    @abstractmethod
    def _do(self, call: Call[A]) -> A: ...

    def similar(
        self,
        picture: Picture | None = None,
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **asked: Unpack[Likeness],
    ) -> tuple[Neighbour, ...]:
        """The images most like a picture, or like those positive and unlike those negative."""
        return self._do(calls.similar(picture, positive, negative, fit, asked)).similar

    def similar_many(
        self,
        pictures: Sequence[Picture],
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **asked: Unpack[Likeness],
    ) -> list[tuple[Neighbour, ...] | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return self._do(calls.similar_many(pictures, positive, negative, fit, asked))

    def similar_to(self, image_id: str, **asked: Unpack[Likeness]) -> tuple[Neighbour, ...]:
        """The images that are most like one of the gallery's, itself left out."""
        return self._do(calls.similar_to(image_id, asked)).similar

    def gallery(self, *, page: int = PAGE, **wanted: Unpack[Filters]) -> Iterator[GalleryItem]:
        """Images of the gallery in the order of ids: all, or those wanted."""
        cursor = ""
        while True:
            found = self._do(calls.page(wanted, cursor, page))
            yield from found.items
            if found.next is None:
                return
            cursor = found.next

    def item(self, image_id: str) -> GalleryItem:
        """What is said of an image of the gallery."""
        return self._do(calls.item(image_id))

    def image(self, image_id: str) -> Image.Image:
        """A picture of the gallery."""
        return self._do(calls.image(image_id))

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
        """Keep a picture; with an `id` or a `key` (`Idempotency-Key`) of its own, only once."""
        return self._do(calls.add(New(picture, label, attributes or {}, id), key, fit))

    def add_many(
        self, new: Sequence[New], *, key: str | None = None, fit: Fit = "crop"
    ) -> list[UpsertResult | Problem]:
        """The same of several, each with its own answer or problem, in their order."""
        return self._do(calls.add_many(new, key, fit))

    def put(
        self,
        image_id: str,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Keep a picture under an id, in the place of the one that is there, if any."""
        return self._do(calls.put(image_id, New(picture, label, attributes or {}), fit))

    def edit(self, image_id: str, **changes: object) -> GalleryItem:
        """Change `label`, or some `attributes`; None takes a label or an attribute away."""
        return self._do(calls.edit(image_id, changes))

    def remove(self, image_id: str) -> None:
        """Take an image out of the gallery for good."""
        self._do(calls.remove(image_id))

    def duplicates(
        self, *, layer: str = "conv2", threshold: float = 0.98, **wanted: Unpack[Filters]
    ) -> Iterator[Pair]:
        """All pairs of images whose cosine is at least the threshold."""
        cursor = ""
        while True:
            found = self._do(calls.duplicates(layer, threshold, cursor, PAGE, wanted))
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
        **asked: Unpack[Likeness],
    ) -> tuple[Neighbour, ...]:
        """The images most like a picture, or like those positive and unlike those negative."""
        return (await self._do(calls.similar(picture, positive, negative, fit, asked))).similar

    async def similar_many(
        self,
        pictures: Sequence[Picture],
        *,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        fit: Fit = "crop",
        **asked: Unpack[Likeness],
    ) -> list[tuple[Neighbour, ...] | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return await self._do(calls.similar_many(pictures, positive, negative, fit, asked))

    async def similar_to(self, image_id: str, **asked: Unpack[Likeness]) -> tuple[Neighbour, ...]:
        """The images that are most like one of the gallery's, itself left out."""
        return (await self._do(calls.similar_to(image_id, asked))).similar

    async def gallery(
        self, *, page: int = PAGE, **wanted: Unpack[Filters]
    ) -> AsyncIterator[GalleryItem]:
        """Images of the gallery in the order of ids: all, or those wanted."""
        cursor = ""
        while True:
            found = await self._do(calls.page(wanted, cursor, page))
            for item in found.items:
                yield item
            if found.next is None:
                return
            cursor = found.next

    async def item(self, image_id: str) -> GalleryItem:
        """What is said of an image of the gallery."""
        return await self._do(calls.item(image_id))

    async def image(self, image_id: str) -> Image.Image:
        """A picture of the gallery."""
        return await self._do(calls.image(image_id))

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
        """Keep a picture; with an `id` or a `key` (`Idempotency-Key`) of its own, only once."""
        return await self._do(calls.add(New(picture, label, attributes or {}, id), key, fit))

    async def add_many(
        self, new: Sequence[New], *, key: str | None = None, fit: Fit = "crop"
    ) -> list[UpsertResult | Problem]:
        """The same of several, each with its own answer or problem, in their order."""
        return await self._do(calls.add_many(new, key, fit))

    async def put(
        self,
        image_id: str,
        picture: Picture,
        *,
        label: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        fit: Fit = "crop",
    ) -> UpsertResult:
        """Keep a picture under an id, in the place of the one that is there, if any."""
        return await self._do(calls.put(image_id, New(picture, label, attributes or {}), fit))

    async def edit(self, image_id: str, **changes: object) -> GalleryItem:
        """Change `label`, or some `attributes`; None takes a label or an attribute away."""
        return await self._do(calls.edit(image_id, changes))

    async def remove(self, image_id: str) -> None:
        """Take an image out of the gallery for good."""
        await self._do(calls.remove(image_id))

    async def duplicates(
        self, *, layer: str = "conv2", threshold: float = 0.98, **wanted: Unpack[Filters]
    ) -> AsyncIterator[Pair]:
        """All pairs of images whose cosine is at least the threshold."""
        cursor = ""
        while True:
            found = await self._do(calls.duplicates(layer, threshold, cursor, PAGE, wanted))
            for pair in found.pairs:
                yield pair
            if found.next is None:
                return
            cursor = found.next
