"""A parameter that takes one value and is given two: refused, since one of them would do nothing."""

from collections import Counter
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError


async def no_doubles(request: Request) -> None:
    """A dependency of every route.

    Raises:
        RequestValidationError: names the parameters.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    doubles = {name for name, times in given.items() if times > 1}
    if not doubles:
        return
    route = getattr(request.scope.get("route"), "path", "")
    found = sorted(doubles & _single(request.app, route, request.method.lower()))
    if found:
        raise RequestValidationError(
            [
                {"type": "double", "loc": ("query", name), "msg": "It is given more than once."}
                for name in found
            ]
        )


def _single(app: FastAPI, route: str, method: str) -> set[str]:
    """The query's parameters of a route that take one value, by the OpenAPI description."""
    described: dict[str, Any] = app.openapi()["paths"].get(route, {}).get(method, {})
    parameters = [one for one in described.get("parameters", ()) if one["in"] == "query"]
    return {one["name"] for one in parameters if one["schema"].get("type") != "array"}
