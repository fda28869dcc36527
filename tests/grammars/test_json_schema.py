from __future__ import annotations

import datetime
import json
import random
import uuid
from decimal import Decimal, localcontext
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from grammar_cases import follows, obj, walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict, Field

from grammars.compiler import CompiledGrammar, GrammarCompiler
from grammars.spec import CompileOptions, GrammarError, JsonSchema
from grammars.validation import read_exactly
from grammars.vocabulary import Vocabulary

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def compiled(compiler: GrammarCompiler, schema: Any, **options: Any) -> CompiledGrammar:
    return compiler.compile(JsonSchema.of(schema), CompileOptions(**options))


def assert_walks_are_valid(grammar: CompiledGrammar, schema: Any, vocabulary: Vocabulary, seeds: range) -> int:
    """The oracle is `jsonschema`; returns how many walks came to an end."""
    schema = read_exactly(json.dumps(schema))
    validator: Any = validator_for(schema, default=validator_for({"$schema": DRAFT}))(schema)
    num_complete = 0
    for seed in seeds:
        text, is_complete = walk(grammar.cursor(), vocabulary, random.Random(seed), 400)
        if is_complete:
            num_complete += 1
            with localcontext(prec=1000):
                error = next(validator.iter_errors(read_exactly(text.decode())), None)
            assert error is None, (text, error and error.message)
    return num_complete


NAMES = st.sampled_from(["a", "b", "ab", "é", 'q"'])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from([0.5, 1.0, -2.25, "a", "ab", "é", ""])
)


def maybe(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


NUMBERS = maybe(
    type=st.sampled_from(["integer", "number"]),
    minimum=st.sampled_from([-12, -1, 0, 0.5, 3, 99.95]),
    maximum=st.sampled_from([-1, 0, 2.5, 10, 1234]),
    exclusiveMinimum=st.sampled_from([-1.5, 0, 2]),
    exclusiveMaximum=st.sampled_from([0, 7, 100]),
    multipleOf=st.sampled_from([1, 2, 0.5]),
)
STRINGS = maybe(
    type=st.just("string"),
    minLength=st.integers(0, 3),
    maxLength=st.integers(0, 5),
    pattern=st.sampled_from(
        ["^[a-c]+$", "a", "^x", "é$", "^(a|b){2}$", "^a|b$", "[0-9]", '^"', "^[a-z_]*$", "(?=a)", "[^a]"]
    ),
    format=st.sampled_from(["date", "uuid", "email", "unheard-of"]),
)


def nested(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = maybe(
        type=st.just("array"),
        items=schemas,
        prefixItems=st.lists(schemas, min_size=1, max_size=2),
        minItems=st.integers(0, 2),
        maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
        contains=schemas,
        unevaluatedItems=st.booleans(),
    )
    objects = maybe(
        type=st.just("object"),
        properties=st.dictionaries(NAMES, schemas, max_size=3),
        required=st.lists(NAMES, unique=True, max_size=2),
        additionalProperties=schemas,
        patternProperties=st.dictionaries(st.sampled_from(["^a", "b$"]), schemas, max_size=2),
        propertyNames=st.sampled_from([{"maxLength": 1}, {"enum": ["a", "b"]}, {"pattern": "^[ab]"}]),
        minProperties=st.integers(0, 2),
        maxProperties=st.integers(0, 3),
        unevaluatedProperties=st.booleans(),
        dependentRequired=st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=1), max_size=1),
    )
    branches = st.lists(schemas, min_size=1, max_size=3)
    combined = maybe(
        anyOf=branches,
        oneOf=branches,
        allOf=branches,
        type=st.sampled_from(["object", "string", ["integer", "null"], "number"]),
        properties=st.dictionaries(NAMES, schemas, max_size=2),
        required=st.lists(NAMES, unique=True, max_size=1),
        enum=st.lists(SCALARS, min_size=1, max_size=3),
    )
    others = st.one_of(
        st.builds(lambda schema: {"not": schema}, schemas),
        st.builds(lambda c, t: {"if": c, "then": t}, schemas, schemas),
    )
    return st.one_of(arrays, objects, combined, objects, others, st.just({"$ref": "#/$defs/one"}))


LEAVES = st.one_of(
    st.booleans(), NUMBERS, STRINGS, maybe(enum=st.lists(SCALARS, min_size=1, max_size=3)), maybe(const=SCALARS),
    st.builds(lambda t: {"type": t}, st.sampled_from(["null", "boolean", "integer", ["string", "null"]])),
)  # fmt: skip
SCHEMAS = st.recursive(LEAVES, nested, max_leaves=5)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, one=SCHEMAS, seed=st.integers(0, 2**20))
def test_where_no_keyword_is_reported_walks_are_valid(
    compiler: GrammarCompiler, vocabulary: Vocabulary, schema: Any, one: Any, seed: int
) -> None:
    whole = (
        {"$defs": {"one": one}, "allOf": [schema]} if isinstance(schema, bool) else {**schema, "$defs": {"one": one}}
    )
    try:  # without formats, which are not asserted by the oracle and turn round under `not`
        grammar = compiler.compile(JsonSchema.of(whole, assert_format=False))
    except GrammarError as error:
        if error.code not in ("invalid_schema", "unsupported_schema", "unsatisfiable_schema", "grammar_too_large"):
            raise
        return
    try:
        assert_walks_are_valid(grammar, whole, vocabulary, range(seed, seed + 4))
    except RecursionError:  # of the oracle, in an endless reference that decides nothing
        return
    except BaseException as panic:  # the same, where it meets Rust code
        if "RecursionError" not in str(panic):
            raise


class Colour(Enum):
    RED = "red"
    DEEP_BLUE = "deep blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool = True


class Address(BaseModel):
    street: str = Field(min_length=1, max_length=40)
    city: str | None = None
    zip: str = Field(pattern=r"^\d{5}$")


class Person(BaseModel):
    """A nested model as people write them."""

    name: Annotated[str, Field(description="Full name")]
    age: Annotated[int, Field(ge=0, lt=150)]
    height: float = Field(gt=0, le=2.5)
    colour: Colour
    born: datetime.date
    seen: datetime.datetime
    id: uuid.UUID
    address: Address
    previous: list[Address] = []
    tags: Annotated[list[str], Field(max_length=3)]
    scores: dict[str, int]
    pair: tuple[int, bool]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    nickname: str | None = None
    status: Literal["new", "old", 3]
    anything: Any = None


class Node(BaseModel):
    value: int
    children: list[Node] = []
    parent: Node | None = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: list[Cat]
    answer: Decimal | str
    flag: bool | None


@pytest.mark.parametrize("model", [Person, Node, Strict, Address, Cat])
def test_models_of_pydantic_work_with_default_options(
    compiler: GrammarCompiler, vocabulary: Vocabulary, model: type[BaseModel]
) -> None:
    schema = model.model_json_schema()
    grammar = compiled(compiler, schema)
    assert all(diagnostic.status == "approximated" for diagnostic in grammar.diagnostics)
    num_complete = assert_walks_are_valid(grammar, schema, vocabulary, range(25))
    assert num_complete > 5
    for seed in range(25):
        text, is_complete = walk(grammar.cursor(), vocabulary, random.Random(seed), 400)
        if is_complete:
            model.model_validate_json(text)


def test_a_dump_of_a_model_is_accepted(compiler: GrammarCompiler) -> None:
    node = Node(value=1, children=[Node(value=-20, children=[], parent=None)], parent=None)
    assert follows(compiled(compiler, Node.model_json_schema()).cursor(), node.model_dump_json())


TEXT = {"type": "string"}
INT = {"type": "integer"}
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (
        obj(a=INT, b=TEXT),
        [{"a": 1, "b": ""}],
        [{"a": 1}, {"b": "", "a": 1}, {"a": 1, "b": "", "c": 1}, {"a": 1.5, "b": ""}],
    ),
    (obj([], a=INT, b=INT, c=INT), [{}, {"a": 1}, {"b": 1, "c": 2}, {"a": 0, "c": 1}], [{"c": 1, "a": 1}]),
    (obj(["b"], a=INT, b=INT), [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}, {}]),
    ({"type": "object", "required": ["z"]}, [{"z": [1, {}]}, {"z": 1, "y": 2}], [{}]),
    ({"type": "object", "additionalProperties": INT}, [{}, {"x": 1, "y": 2}], [{"x": "1"}]),
    ({**obj(a=INT), "additionalProperties": TEXT}, [{"a": 1}, {"a": 1, "b": "x", "aa": ""}], [{"a": 1, "a ": 1}]),
    (
        {"type": "object", "patternProperties": {"^x-": INT}, "additionalProperties": False},
        [{"x-a": 1}, {}],
        [{"y": 1}],
    ),
    ({"type": "object", "propertyNames": {"maxLength": 2}, "maxProperties": 1}, [{"ab": None}, {}], [{"abc": 1}]),
    ({"type": "array", "items": INT, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3], ["1"]]),
    ({"prefixItems": [INT, TEXT], "items": False}, [[], [1], [1, "a"]], [["a"], [1, "a", 1]]),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [INT], "additionalItems": TEXT},
        [[1, "a"]],
        [[1, 1]],
    ),
    ({"enum": [1, "a\n", None, {"x": [1]}]}, [1, "a\n", None, {"x": [1]}], [2, "a", {"x": []}]),
    ({"enum": ["a", 1, 2], "type": "integer", "minimum": 2}, [2], [1, "a"]),
    ({"anyOf": [INT, {"type": "null"}]}, [1, None], ["x"]),
    ({"oneOf": [INT, TEXT]}, [1, "a"], [None]),
    ({"allOf": [obj(a=INT), obj(b=TEXT)]}, [{"a": 1, "b": ""}], [{"a": 1}]),
    ({"allOf": [{"minimum": 3}, {"maximum": 5}], "type": "integer"}, [3, 5], [2, 6]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é😀", '"\\\n'], ["a", "abcd"]),
    ({"type": "string", "pattern": "b"}, ["abc", "b"], ["a"]),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 3}, ["a", "abc"], ["abcd", ""]),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, [0.5, 1, 1.0, 0.001], [0, 1.5, -1]),
    ({"type": "integer", "exclusiveMaximum": 10, "minimum": -10}, [-10, 0, 9], [10, -11]),
    ({"type": "string", "format": "date"}, ["2024-02-29", "1999-12-31"], ["2023-02-29", "1999-13-01", "x"]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": INT}}, [3], ["3"]),
    ({"$ref": "#x", "$defs": {"y": {"$anchor": "x", **INT}}}, [3], ["3"]),
    (True, [1, None, {"a": [{}]}, "x", 1e5], []),
]


@pytest.mark.parametrize("backend", ["native", "xgrammar"])
@pytest.mark.parametrize(("schema", "accepted", "rejected"), CASES)
def test_schemas_accept_and_reject(
    compiler: GrammarCompiler, schema: Any, accepted: list[Any], rejected: list[Any], backend: str
) -> None:
    grammar = compiled(compiler, schema, backend=backend)
    for instance in accepted + rejected:
        text = json.dumps(instance, ensure_ascii=False)
        assert follows(grammar.cursor(), text) == any(instance is other for other in accepted), text


@pytest.mark.parametrize("backend", ["outlines", "xgrammar"])
@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ('{"ab": 1, "b": "x"}', True),
        ('{"ab": 1, "a": "x", "abc": "x", "": "x"}', True),
        ('{"ab": 1, "ab": "x"}', False),
        ('{"ab": "x"}', False),
        ('{"q\\"": "x"}', False),
        ('{"q\\"": 2, "q": "x"}', True),
        ('{"\\u0061b": "x"}', False),
    ],
)
def test_an_additional_property_never_takes_a_listed_name(
    compiler: GrammarCompiler, text: str, accepted: bool, backend: str
) -> None:
    schema = {**obj([], **{"ab": INT, 'q"': INT}), "additionalProperties": TEXT}
    assert follows(compiled(compiler, schema, backend=backend).cursor(), text) == accepted


@pytest.mark.parametrize(("text", "accepted"), [('{"ab": 5}', True), ('{"ab": 2}', False), ('{"ab": 12}', False)])
def test_a_listed_property_obeys_the_patterns_its_name_matches_too(
    compiler: GrammarCompiler, text: str, accepted: bool
) -> None:
    patterns = {"^a": {"minimum": 3}, "b$": {"maximum": 9}}
    assert follows(compiled(compiler, {**obj(ab=INT), "patternProperties": patterns}).cursor(), text) == accepted


@pytest.mark.parametrize(
    ("schema", "pointer", "keyword"),
    [
        (obj(a={"not": INT}), "/properties/a", "not"),
        (obj(a={"type": "array", "uniqueItems": True}), "/properties/a", "uniqueItems"),
        ({"type": "array", "contains": INT}, "", "contains"),
        ({"type": "integer", "multipleOf": 3}, "", "multipleOf"),
        ({**obj(a=INT), "dependentRequired": {"a": ["b"]}}, "", "dependentRequired"),
        ({"if": INT, "then": {"minimum": 2}}, "", "if"),
        ({"oneOf": [INT, {"type": "number"}]}, "", "oneOf"),
        ({"type": "string", "pattern": "(?=a)b"}, "", "pattern"),
        ({"type": "string", "pattern": "a.*b.*", "maxLength": 9}, "", "maxLength"),
        ({"allOf": [obj(["a"], a=INT)], "unevaluatedProperties": False}, "", "unevaluatedProperties"),
    ],
)
def test_a_keyword_that_is_not_enforced_is_refused_or_left_to_validation(
    compiler: GrammarCompiler, schema: Any, pointer: str, keyword: str
) -> None:
    with pytest.raises(GrammarError) as caught:
        compiled(compiler, schema, backend="xgrammar")
    assert caught.value.code == "unsupported_schema"
    assert caught.value.pointer == pointer
    assert f"`{keyword}`" in caught.value.message
    assert "on_unsupported" in caught.value.message
    grammar = compiled(compiler, schema, backend="xgrammar", on_unsupported="validate")
    left = [d for d in grammar.diagnostics if d.status == "validated"]
    assert [(d.pointer, d.keyword) for d in left] == [(pointer, keyword)]


@pytest.mark.parametrize(
    "annotation",
    [
        {"title": "t"},
        {"x-order": 3},
        {"readOnly": True},
        {"$comment": "c"},
        {"format": "unheard-of"},
        {"deprecated": True},
    ],
)
def test_annotations_are_no_gaps(compiler: GrammarCompiler, annotation: dict[str, Any]) -> None:
    assert compiled(compiler, {"type": "string", **annotation}).diagnostics == []


def test_keywords_of_later_drafts_are_annotations_in_earlier_ones(compiler: GrammarCompiler) -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "const": 3, "if": {}}
    assert follows(compiled(compiler, schema).cursor(), "4")


def test_what_a_discriminator_tells_apart_is_always_generated(compiler: GrammarCompiler) -> None:
    branches = [obj([], kind={"const": kind}, n=INT) for kind in ("a", "b")]
    grammar = compiled(compiler, {"oneOf": branches})
    assert follows(grammar.cursor(), '{"kind": "b", "n": 1}')
    assert not follows(grammar.cursor(), '{"n": 1}')


@pytest.mark.parametrize(
    ("schema", "code", "pointer"),
    [
        ('{"type": "nonsense"}', "invalid_schema", "/type"),
        ('{"properties": {"a": {"minLength": -1}}}', "invalid_schema", "/properties/a/minLength"),
        ('{"properties": {"a": {"$ref": "#/nowhere"}}}', "invalid_schema", "/properties/a/$ref"),
        ('{"$ref": "#"}', "invalid_schema", ""),
        ('{"items": {"$ref": "https://example.com/x.json"}}', "unsupported_schema", "/items/$ref"),
        ('{"type": "string", "pattern": "["}', "invalid_schema", "/pattern"),
        ('{"type": "integer", "minimum": 5, "maximum": 4}', "unsatisfiable_schema", ""),
        ('{"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}', "unsatisfiable_schema", ""),
        ("false", "unsatisfiable_schema", ""),
        ('{"type":', "invalid_schema", None),
        (r'{"properties": {"a": {"const": ["\ud800"]}}}', "invalid_schema", "/properties/a/const/0"),
        (r'{"properties": {"\udc00x": true}}', "invalid_schema", "/properties"),
        ('{"minimum": NaN}', "invalid_schema", ""),
        ("[" * 400 + "]" * 400, "invalid_schema", ""),
        ('{"items":' * 90_000 + "{}" + "}" * 90_000, "grammar_too_large", ""),
        ('{"not":' * 199 + "{}" + "}" * 199, "unsatisfiable_schema", ""),
        ('{"uniqueItems": true, "items": {"type": "object"}}', "unsupported_schema", "/uniqueItems"),
    ],
)
def test_what_is_wrong_with_a_schema_is_said_with_its_place(
    compiler: GrammarCompiler, schema: str, code: str, pointer: str | None
) -> None:
    with pytest.raises(GrammarError) as caught:
        compiler.compile(JsonSchema(schema))
    assert (caught.value.code, caught.value.pointer) == (code, pointer), caught.value


@settings(max_examples=150)
@given(low=st.none() | st.decimals(-200, 200, places=2), high=st.none() | st.decimals(-200, 200, places=2),
       strict=st.booleans(), value=st.decimals(-200, 200, places=2))  # fmt: skip
def test_bounds_of_numbers_are_exact(low: Decimal | None, high: Decimal | None, strict: bool, value: Decimal) -> None:
    import re

    from grammars.backends.schema_regex.numbers import Bound, numbers
    from grammars.expr import to_regex

    expr = numbers(None if low is None else Bound(low, strict), None if high is None else Bound(high, strict))
    pattern = re.sub(r"\\x\{([0-9A-F]+)\}", lambda m: f"\\x{int(m[1], 16):02x}", to_regex(expr, {}))
    over = low is None or (value > low if strict else value >= low)
    under = high is None or (value < high if strict else value <= high)
    spelled = format(value if value else Decimal(0), "f")
    assert bool(re.fullmatch(pattern.replace("[a&&b]", "(?!)"), spelled)) == (over and under)
