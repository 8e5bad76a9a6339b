"""Unknown and repeated parameters are refused by name; form fields count as the query's."""

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from tests.support.fakes import image_file

FILE = ("cat.png", image_file(), "image/png")


def errors(response: Response) -> list[tuple[str, str]]:
    """Return location and detail of each refused parameter."""
    assert response.status_code == 422, response.text
    return [(one["location"], one["detail"]) for one in response.json()["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "location", "nearest"),
    [
        ("GET", "/gallery?lable=cat", "query.lable", "label"),
        ("GET", "/gallery?attribut.shelf=3", "query.attribut.shelf", "attribute.NAME"),
        ("GET", "/gallery?fliter=shelf:3", "query.fliter", "filter"),
        ("GET", "/model?version=1", "query.version", None),
        ("GET", "/livez?t=1", "query.t", None),
        ("GET", "/experiments?block=2", "query.block", "blocks"),
        ("POST", "/classify?topk=3", "query.topk", "top_k"),
        ("POST", "/classify?attribute.shelf=3", "query.attribute.shelf", None),
        ("POST", "/predict?layer=conv2", "query.layer", "layers"),
        ("POST", "/similar?treshold=0.5", "query.treshold", "score_threshold"),
        ("POST", "/gallery?lable=cat", "query.lable", "label"),
        ("POST", "/gallery/duplicates?treshold=0.5", "query.treshold", "threshold"),
        ("PUT", "/gallery/x?lable=cat", "query.lable", "label"),
        ("DELETE", "/gallery/x?force=1", "query.force", None),
        ("POST", "/admin/reload?bundle=x", "query.bundle", None),
        ("GET", "/v2?verbose=1", "query.verbose", None),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest(
    client: TestClient, method: str, path: str, location: str, nearest: str | None
) -> None:
    ((refused, detail),) = errors(client.request(method, path))
    assert refused == location
    hint = f": did you mean {nearest}?" if nearest else "."
    assert detail == f"There is no such parameter{hint}"


@pytest.mark.parametrize(
    "path",
    [
        "/gallery?label=cat&label=dog",
        "/gallery?attribute.a=1&attribute.a=2",
        "/gallery?limit=1&limit=1",
    ],
)
def test_a_parameter_given_twice_is_refused(client: TestClient, path: str) -> None:
    name = path.partition("?")[2].partition("=")[0]
    assert errors(client.get(path)) == [(f"query.{name}", "Given 2 times: give it once.")]


def test_every_refused_parameter_is_named(client: TestClient) -> None:
    found = errors(client.get("/gallery?lable=cat&limit=1&limit=2&x=1"))
    assert [location for location, _ in found] == ["query.lable", "query.limit", "query.x"]


def test_lists_may_be_repeated(client: TestClient) -> None:
    first, second = [item["id"] for item in client.get("/gallery?limit=2").json()["items"]]
    response = client.post(f"/similar?positive={first}&positive={second}&limit=1")
    assert response.status_code == 200


def test_pages_of_people_take_any_query(client: TestClient) -> None:
    assert client.get("/?utm_source=mail").status_code == 200
    assert client.get("/web/main.js?v=2").status_code == 200
    assert client.get("/docs?x").status_code == 200


def test_an_unknown_json_field_is_refused_with_the_nearest(client: TestClient) -> None:
    response = client.post("/gallery", json={"image": "", "lable": "cat"})
    assert response.status_code == 400
    assert "lable: There is no such field: did you mean label?" in response.json()["detail"]
    response = client.patch("/gallery/x", json={"atributes": {}})
    assert "did you mean attributes?" in response.json()["detail"]


def test_filters_by_attribute_have_a_documented_form(client: TestClient) -> None:
    for name, shelf in (("filter-a", "3"), ("filter-b", "4")):
        added = client.post(
            f"/gallery?id={name}&attribute.place={shelf}&attribute.url=a:b", content=FILE[1]
        )
        assert added.status_code in (200, 201)
    try:
        for query in ("filter=place:3", "attribute.place=3", "filter=place:3&filter=url:a:b"):
            page = client.get(f"/gallery?{query}").json()
            assert [item["id"] for item in page["items"]] == ["filter-a"]
        both = client.get("/gallery?filter=place:3&filter=place:4").json()
        assert both["items"] == []
        for query in (
            "attribute.place=..3&attribute.place!=4",
            "filter=place:1..3",
            "attribute.place=3,9&attribute.url!=c,d",
            "filter=place!:4&source=added&attribute.url=a:b",
        ):
            page = client.get(f"/gallery?{query}").json()
            assert [item["id"] for item in page["items"]] == ["filter-a"], query
        assert client.get("/gallery?filter=place").status_code == 422
        for query in ("filter=place:1..x", "attribute.place=9..1"):
            ((refused, detail),) = errors(client.get(f"/gallery?{query}"))
            assert refused == f"query.{query.partition('=')[0]}"
            assert "write 5..20" in detail
    finally:
        for name in ("filter-a", "filter-b"):
            client.delete(f"/gallery/{name}")


def test_form_fields_beside_a_file_count_as_the_query(client: TestClient) -> None:
    added = client.post(
        "/gallery",
        files={"file": FILE},
        data={"label": "cat", "id": "by-form", "attribute.shelf": "3", "attribute.note": ""},
    )
    try:
        assert added.status_code == 201, added.text
        item = client.get("/gallery/by-form").json()
        assert (item["label"], item["attributes"]) == ("cat", {"shelf": "3", "note": ""})
    finally:
        client.delete("/gallery/by-form")
    answer = client.post("/classify", files={"file": FILE}, data={"top_k": "1", "fit": "pad"})
    assert len(answer.json()["predictions"]) == 1
    found = client.post("/similar?layer=logits", files={"file": FILE}, data={"limit": "2"})
    assert (found.json()["layer"], len(found.json()["similar"])) == ("logits", 2)


def test_an_empty_form_field_counts_as_not_given(client: TestClient) -> None:
    answer = client.post("/classify", files={"file": FILE}, data={"top_k": ""})
    assert len(answer.json()["predictions"]) == 3


def test_form_fields_are_validated_as_the_query(client: TestClient) -> None:
    def post(path: str, **fields: str | list[str]) -> list[tuple[str, str]]:
        return errors(client.post(path, files={"file": FILE}, data=fields))

    assert post("/gallery", lable="cat") == [
        ("form.lable", "There is no such parameter: did you mean label?")
    ]
    twice = "Given 2 times: give it once."
    assert post("/gallery", label=["cat", "dog"]) == [("form.label", twice)]
    assert post("/gallery?label=cat", label="dog") == [("form.label", twice)]
    ((location, _),) = post("/classify", top_k="many")
    assert location == "query.top_k"


def test_a_file_under_another_name_beside_a_file_is_refused(client: TestClient) -> None:
    response = client.post("/classify", files={"file": FILE, "mask": FILE})
    assert errors(response) == [("form.mask", "There is no such parameter.")]


def test_two_ids_for_one_image_are_refused(client: TestClient) -> None:
    for response in (
        client.put("/gallery/a", json={"image": "", "id": "b"}),
        client.post("/gallery?id=a", json={"image": "", "id": "b"}),
    ):
        assert response.status_code == 400
        assert "One image has two ids, a and b" in response.json()["detail"]
    assert errors(client.put("/gallery/a?id=a", content=FILE[1])) == [
        ("query.id", "There is no such parameter.")
    ]
