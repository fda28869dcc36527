"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.

Beside these, an error names the place where one is known: `pointer` into a schema, or `line` and `column`.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, UnsetType

from engine.wire import Rejected

logger = logging.getLogger("espalier.gateway")


class ErrorBody(msgspec.Struct, frozen=True):
    message: str
    """What is wrong and what to do about it."""
    type: str
    param: str | None = None
    """The field of the request that is at fault."""
    code: str | None = None
    """A stable word for programs to compare with."""
    pointer: str | UnsetType = UNSET
    """JSON Pointer (RFC 6901) into the schema at fault."""
    line: int | UnsetType = UNSET
    column: int | UnsetType = UNSET


class ErrorResponse(msgspec.Struct, frozen=True):
    """What every status of 400 and above carries, and the SSE event of a stream that fails."""

    error: ErrorBody


class ApiError(Exception):
    """An answer that is an error: HTTP status, body, and after how many seconds to try again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        pointer: str | None = None,
        line: int | None = None,
        column: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.body = ErrorBody(
            message=message,
            type=_error_type(status),
            param=param,
            code=code,
            pointer=UNSET if pointer is None else pointer,
            line=UNSET if line is None else line,
            column=UNSET if column is None else column,
        )

    @property
    def response(self) -> ErrorResponse:
        return ErrorResponse(self.body)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request cannot be served as it stands."""
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str, retry_after_s: int) -> ApiError:
    """503: the engine is starting or restarting."""
    return ApiError(503, message, code="engine_unavailable", retry_after_s=retry_after_s)


def engine_failed(message: str) -> ApiError:
    """500: the engine accepted the request and could not finish it."""
    return ApiError(500, message, code="engine_error")


def output_invalid(message: str, pointer: str | None = None) -> ApiError:
    """500: the finished text failed its final validation and is withheld."""
    return ApiError(500, message, code="output_invalid", pointer=pointer)


def rejected(event: Rejected, param: str | None) -> ApiError:
    """The answer to a request that the engine refused; `param` is the field its constraint came from."""
    match event.code:
        case "grammar":
            crashed = event.grammar_code == "compile_crashed"
            return ApiError(
                503 if crashed else 400,
                event.message,
                param=param,
                code=event.grammar_code,
                pointer=event.pointer,
                line=event.line,
                column=event.column,
                retry_after_s=1 if crashed else None,
            )
        case "context_length_exceeded":
            return ApiError(400, event.message, param="messages", code=event.code)
        case "invalid_request":
            return ApiError(400, event.message, code=event.code)
        case "overloaded":
            return ApiError(429, event.message, code=event.code, retry_after_s=1)
        case "internal":
            return ApiError(500, event.message, code="engine_error")


def _error_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def error_response(error: ApiError) -> Response[ErrorResponse]:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(error.response, status_code=error.status, headers=headers, media_type=MediaType.JSON)


def handle_api_error(_request: Request[Any, Any, Any], error: ApiError) -> Response[ErrorResponse]:
    return error_response(error)


def handle_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorResponse]:
    """Litestar's own refusals (no such path, wrong method, body too large) in the same shape."""
    path = request.url.path
    match error.status_code:
        case 404:
            answer = ApiError(404, f"There is nothing at {path}; the API is described at /schema.", code="not_found")
        case 405:
            answer = ApiError(405, f"{path} does not answer {request.method}.", code="method_not_allowed")
        case 413:
            limit = request.app.request_max_body_size
            answer = ApiError(413, f"The request body exceeds {limit} bytes, the limit.", code="body_too_large")
        case status if status < 500:
            answer = ApiError(400, error.detail, code="invalid_request")
        case _:
            return handle_unexpected(request, error)
    response = error_response(answer)
    response.headers.update(error.headers or {})
    return response


def handle_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorResponse]:
    """500 without the details, which go to the log."""
    logger.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return error_response(ApiError(500, "Unexpected error in the server; its log has the details.", code="internal"))
