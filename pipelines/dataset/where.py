"""Which rows of index.parquet a condition names: `uncertainty < 0.2 and share["hair"] > 0.05`.

It is read as Python's grammar has it and computed here, node by node; nothing of it is ever run. Beside the columns
there are `class_pixels[...]` and `share[...]` of a class, by its id or its name; a share is of the labelled pixels.
"""

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from pipelines.errors import DatasetError

LONGEST = 1000  # characters; a longer one would be nested too deeply to be read
_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.remainder,
}
_PER_CLASS = ("class_pixels", "share")


class _Mistake(Exception):
    """What is wrong with a condition, as a clause."""


def rows_where(expression: str, table: pa.Table, names: Sequence[str] = ()) -> Bool[np.ndarray, " rows"]:
    """A truth for each row of the table; `names` are those of the classes, by their ids.

    Raises DatasetError for what is no condition on the table's columns.
    """
    columns = [name for name in table.column_names if name not in _PER_CLASS]
    try:
        if len(expression) > LONGEST:
            raise _Mistake(f"it has {len(expression)} characters, {LONGEST} are read")
        with np.errstate(all="ignore"):  # a division by zero is no number, and true of nothing
            rows = _truth(ast.parse(expression.strip(), mode="eval").body, table, names)
        if rows.shape != (len(table),):
            raise _Mistake("it says nothing of any column")
    except (_Mistake, SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        why = str(error) if isinstance(error, _Mistake) else "it is no expression that can be read"
        raise DatasetError(
            f'the condition {expression[:80]!r} cannot be used: {why}; write one as "uncertainty < 0.2", with the '
            f'columns {", ".join(columns)}, class_pixels["name"] and share["name"], and with and, or, not, in'
        ) from error
    return rows


def _truth(node: ast.expr, table: pa.Table, names: Sequence[str]) -> np.ndarray:
    value = np.asarray(_value(node, table, names))
    if value.dtype != np.bool_:
        raise _Mistake(f"`{ast.unparse(node)}` is neither true nor false")
    return value


def _value(node: ast.expr, table: pa.Table, names: Sequence[str]) -> Any:
    """A column, or a constant."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return constant
        case ast.Name(id=column) if column in table.column_names and column not in _PER_CLASS:
            return table[column].to_numpy()
        case ast.Subscript(value=ast.Name(id="class_pixels" | "share" as what), slice=ast.Constant(value=wanted)):
            return _of_class(what, wanted, table, names)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_truth(operand, table, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return np.negative(_number(operand, table, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_number(left, table, names), _number(right, table, names))
        case ast.BoolOp(op=op, values=values):
            combined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return combined.reduce(np.broadcast_arrays(*(_truth(value, table, names) for value in values)))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            pairs = zip([left, *rights], ops, rights, strict=False)
            parts = [_compared(one, op, other, table, names) for one, op, other in pairs]
            return np.logical_and.reduce(np.broadcast_arrays(*parts))
    raise _Mistake(f"`{ast.unparse(node)}` is not known")


def _number(node: ast.expr, table: pa.Table, names: Sequence[str]) -> Any:
    value = _value(node, table, names)
    if np.asarray(value).dtype.kind not in "iuf":
        raise _Mistake(f"`{ast.unparse(node)}` is no number")
    return value


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, table: pa.Table, names: Sequence[str]) -> Any:
    one = _value(left, table, names)
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple):
            raise _Mistake(f"`{ast.unparse(right)}` is no list, as [1, 2, 3]")
        others = [_alike(one, _value(item, table, names), left) for item in right.elts]
        found = np.logical_or.reduce(np.broadcast_arrays(np.zeros_like(one, bool), *(one == each for each in others)))
        return ~found if isinstance(op, ast.NotIn) else found
    if type(op) not in _COMPARISONS:
        raise _Mistake("`is` compares nothing here, == does")
    return _COMPARISONS[type(op)](one, _alike(one, _value(right, table, names), right))


def _alike(one: Any, other: Any, node: ast.expr) -> Any:
    """The other, if it can be compared with the one: both texts, or neither."""
    texts = [np.asarray(value).dtype.kind in "OUS" for value in (one, other)]
    if texts[0] != texts[1]:
        raise _Mistake(f"`{ast.unparse(node)}` is compared with something of another kind")
    return other


def _of_class(what: str, wanted: Any, table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Pixels of a class in each row, or their share of the labelled ones."""
    pixels = table["class_pixels"]
    classes = len(pixels[0]) if len(table) else len(names)
    number = list(names).index(wanted) if wanted in names else wanted
    if type(number) is not int or not 0 <= number < classes:
        known = f"0 to {classes - 1}" + (f", {', '.join(names)}" if names else "")
        raise _Mistake(f"{wanted!r} is no class; classes are {known}")
    counts = pixels.combine_chunks().flatten().to_numpy().reshape(len(table), classes)
    return counts[:, number] if what == "class_pixels" else counts[:, number] / counts.sum(axis=1)
