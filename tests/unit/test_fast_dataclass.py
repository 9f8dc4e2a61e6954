"""`fast_dataclass` beside `dataclasses.dataclass`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pydantic
import pytest

from dev_sessions.system.fast_dataclass import defaults, fast_dataclass, field, field_types, replace


@fast_dataclass(frozen=True)
class Base:
    """A class with every kind of field."""

    name: str
    count: int = 0
    marks: list[str] = field(default_factory=list)


@fast_dataclass(frozen=True)
class Derived(Base):
    """A derived class with one more field."""

    more: str = ""


@fast_dataclass(kw_only=True)
class Named:
    """A class with keyword-only fields."""

    name: str


def test_objects_are_made_as_the_original_makes_them() -> None:
    """Positional and keyword arguments, defaults, default factories and inherited fields work the same."""
    made = Base("a", marks=["x"])
    assert (made.name, made.count, made.marks) == ("a", 0, ["x"])
    assert Base("a").marks is not Base("a").marks
    assert vars(Derived("a", 1, more="b")) == {"name": "a", "count": 1, "marks": [], "more": "b"}
    assert Named(name="a").name == "a"


def test_objects_are_compared_and_changed_as_the_original_does() -> None:
    """Equality, hashes and `replace` work the same."""
    one, other = Base("a", count=1, marks=[]), Base(marks=[], count=1, name="a")
    assert one == other
    assert repr(one) == repr(other) == "Base(name='a', count=1, marks=[])"
    assert hash(Derived("a", 1, (), "b")) == hash(Derived(more="b", marks=(), count=1, name="a"))  # type: ignore[arg-type]
    assert one != Derived("a", count=1)
    assert replace(one, count=2) == dataclasses.replace(one, count=2) == Base("a", 2)
    assert dataclasses.asdict(one) == {"name": "a", "count": 1, "marks": []}


def test_the_functions_of_dataclasses_and_pydantic_take_them() -> None:
    """`dataclasses.fields` and pydantic see the fields with their defaults, also those of the base class."""
    found = {item.name: (item.default, item.default_factory) for item in dataclasses.fields(Derived)}
    missing = dataclasses.MISSING
    expected = {"name": (missing, missing), "count": (0, missing), "marks": (missing, list), "more": ("", missing)}
    assert found == expected
    assert pydantic.TypeAdapter(Derived).validate_python({"name": "a"}) == Derived("a")
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(Derived).validate_python({"name": 1})
    assert Derived("a").marks is not Derived("a").marks


def test_fields_are_known_without_dataclasses() -> None:
    """`field_types` and `defaults` have the fields in their order, and the defaults that are no calls."""
    assert list(field_types(Derived).items()) == [
        ("name", "str"),
        ("count", "int"),
        ("marks", "list[str]"),
        ("more", "str"),
    ]
    assert defaults(Derived) == {"count": 0, "more": ""}
    code = "import sys; import dev_sessions.operations; print('dataclasses' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, [], "too many"), {}), (("a",), {"unknown": 1}), ((), {"unknown": 1})],
    ids=["missing", "too many", "unknown", "both"],
)
def test_what_does_not_fit_the_fields_is_an_error(values: tuple[object, ...], named: dict[str, object]) -> None:
    """Missing, unknown and surplus arguments are a TypeError."""
    with pytest.raises(TypeError, match=r"^Base has the fields name, count, marks; given: "):
        Base(*values, **named)  # type: ignore[arg-type]


def test_one_that_goes_by_name_takes_no_position() -> None:
    """`kw_only` classes take no positional arguments."""
    with pytest.raises(TypeError):
        Named("a")  # type: ignore[call-arg]
