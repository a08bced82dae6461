"""Read a pickle as data, with a stack machine of our own that imports nothing and calls nothing from the file.

Python's unpickler imports what a file names and calls it. Here a name in the file becomes a `Name`; a call is carried out only
if the caller's `rebuild` table has a function of ours for exactly that name, and refused otherwise. An object of an unknown
class, made without a call, becomes a `Held`: the name of its class, and its attributes as data.
`torch.load(weights_only=True)` imports nothing either, but hashes any key that a file uses: 28 nested pairs, 527 bytes, take
it 1.4 s, each further pair doubles that. It also refuses pickled modules and reads older files whole.
`fda.checkpoints.readers.rebuild` knows what the names mean (tensors, arrays), and `torch_files` where their bytes are.
"""

import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from fda.checkpoints.readers.budget import Budget, Exceeded, budget_of
from fda.checkpoints.readers.spans import Cursor, Span

LAZY = 4096  # byte strings of at least this length stay in the file, as spans
# Limits of a dict key: a tuple's parts on all levels, and a number's bits. Hashing a tuple visits all its parts, and 60 nested
# pairs, each holding the previous one twice, have 2⁶⁰ parts; numbers with more bits can be constructed to share one hash.
_KEY_PARTS, _KEY_BITS = 64, 64
# Tuples can be constructed to share one hash too, and each is then compared with all before it. Per pickle, and per call.
_TUPLES_AS_KEYS, _TUPLES_AT_ONCE = 5000, 1000
# Approximate memory of objects: a container by itself, each entry in it, an object of an unknown class.
_CONTAINER_BYTES, _SLOT_BYTES, _HELD_BYTES = 100, 8, 400


class Refused(Exception):
    """The file asks for something that is not read; the message, a predicate, says what."""


class Damaged(Exception):
    """The stream is not a complete, valid pickle."""


@dataclass(frozen=True)
class Name:
    """A pickle's global: a module's name and a name in it. Never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return ascii(f"{self.module}.{self.name}")[1:-1][:100]  # untrusted text that goes into messages


@dataclass(eq=False)
class Held:
    """An object of a class that is not imported, with the data that the file has for it."""

    of: Name
    args: tuple = ()
    state: dict[str, Any] = field(default_factory=dict)
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


class Shell:
    """Base class of rebuilt objects that receive their state afterwards, through `fill`."""

    def fill(self, state: Any) -> None:
        raise NotImplementedError


Rebuild = Mapping[Name, Callable[..., Any]]
Persistent = Callable[[Any], Any]

# No checkpoint needs these modules, not even as a name: a file that mentions them was made to do harm.
_HARMFUL = {"os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "pty", "runpy", "importlib", "codeop"}
_HARMFUL |= {"ctypes", "webbrowser", "marshal", "pickle", "_pickle", "cloudpickle", "multiprocessing", "pdb"}
_HARMFUL_BUILTINS = {"eval", "exec", "execfile", "compile", "open", "getattr", "setattr", "input", "breakpoint"}


def read_pickle(
    cursor: Cursor, rebuild: Rebuild, persistent: Persistent | None = None, budget: Budget | None = None
) -> Any:
    """Read the next pickle in the stream, as plain data, `Name`, `Held` and the results of `rebuild` functions.

    `persistent` resolves persistent ids. Long byte strings become `Span`s. `budget`: by default that of the rest of the stream.
    Raises `Refused`, `Damaged` and `Exceeded`; callers add the file's name.
    """
    try:
        return _Machine(cursor, rebuild, persistent, budget or budget_of(cursor.left)).run()
    except (Refused, Damaged, Exceeded):
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error, OverflowError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None
    except RecursionError:
        raise Damaged("its objects are nested too deeply") from None


_MARK = object()


class _Machine:
    """The stack machine of a pickle. `_ACTIONS` maps each opcode to its action; other opcodes are refused."""

    def __init__(self, cursor: Cursor, rebuild: Rebuild, persistent: Persistent | None, budget: Budget) -> None:
        self.cursor, self.rebuild, self.persistent, self.budget = cursor, rebuild, persistent, budget
        self.tuples_as_keys = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            self.budget.spend()
            code = self.cursor.read(1)
            opcode = _OPCODES.get(code.decode("latin-1")) if code else None
            if opcode is None:
                raise Damaged("it ends too early" if not code else f"byte {code!r} is no opcode")
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name in _LONG_BYTES:
                self.push(self.long_bytes(_LONG_BYTES[opcode.name]))
                continue
            argument = opcode.arg.reader(cast(IO[bytes], self.cursor)) if opcode.arg is not None else None
            if opcode.name in _CONSTANTS:
                self.push(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise Refused(f"uses the pickle opcode {opcode.name}")

    # stack and memo

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_new(self, value: Any) -> None:
        self.budget.spend(0, 2 * _CONTAINER_BYTES)  # an empty set, the largest, has 216 bytes
        self.push(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Damaged("a mark stands where a value should")
        return value

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise Damaged("a mark stands where a value should")
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                self.spend_on(len(values))
                return values
        raise Damaged("a mark is missing")

    def spend_on(self, count: int) -> None:
        """Spend the cost of a container with `count` entries, or of visiting them."""
        self.budget.spend(count, _CONTAINER_BYTES + _SLOT_BYTES * count)

    def take(self, count: int) -> tuple:
        self.budget.spend(0, _CONTAINER_BYTES)
        return tuple(reversed([self.pop() for _ in range(count)]))

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def long_bytes(self, size: int) -> bytes | Span:
        length = int.from_bytes(self.cursor.read(size), "little")
        span = self.cursor.skip(length)
        return span if length >= LAZY else span.read()

    # containers

    def add_elements(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Held):
            target.elements.extend(values)
        elif type(target) is set:
            target.update(self.keys(values))
        elif type(target) is list:
            target.extend(values)
        else:
            raise Refused(f"adds elements to {described(target)}")

    def add_items(self, values: list[Any]) -> None:
        target = self.top()
        items = self.pairs(values)
        if isinstance(target, Held):
            target.items.update(items)
        elif type(target) is dict:
            target.update(items)
        else:
            raise Refused(f"sets items of {described(target)}")

    def keys(self, values: list[Any]) -> list[Any]:
        self.tuples_as_keys += sum(type(value) is tuple for value in values)
        if self.tuples_as_keys > _TUPLES_AS_KEYS:
            raise Refused("uses thousands of tuples as keys")
        return keys(values)

    def pairs(self, values: list[Any]) -> dict[Any, Any]:
        if len(values) % 2:
            raise Damaged("a key has no value")
        return dict(zip(self.keys(values[::2]), values[1::2], strict=True))

    # names, objects and calls

    def name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Damaged("a global's name is no text")
        named = Name(module, name)
        package = module.split(".")[0]
        builtin = package in ("builtins", "__builtin__") and name in _HARMFUL_BUILTINS
        if named not in self.rebuild and (package in _HARMFUL or builtin or "." in name or name.startswith("__")):
            raise Refused(f"names {named}, which no checkpoint needs")
        return named

    def call(self, function: Any, args: Any) -> Any:
        if isinstance(function, Name) and isinstance(args, tuple) and function in self.rebuild:
            self.spend_on_call(args)
            return self.rebuild[function](*args)
        raise Refused(f"asks to run {described(function)}")

    def spend_on_call(self, args: tuple) -> None:
        """Spend the cost of an object that is made from these arguments, which the call may copy or visit."""
        self.spend_on(
            len(args) + sum(len(arg) for arg in args if isinstance(arg, list | tuple | dict | set | frozenset))
        )
        self.budget.spend(0, _HELD_BYTES + sum(len(arg) for arg in args if isinstance(arg, str | bytes)))

    def make(self, of: Any, args: Any) -> Any:
        """Make an object without calling its constructor."""
        if not isinstance(of, Name) or not isinstance(args, tuple):
            raise Refused(f"makes an object of {described(of)}")
        self.spend_on_call(args)
        if of in self.rebuild:
            return self.rebuild[of](*args)
        if of.module in ("builtins", "__builtin__"):
            raise Refused(f"makes an object of {of}")
        return Held(of, args)

    def build(self) -> None:
        """Give the object on top of the stack its state. Calls no method that the file could have chosen."""
        state = self.pop()
        target = self.top()
        if isinstance(target, Shell):
            target.fill(state)
            return
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        dicts = [part for part in parts if isinstance(part, dict)]
        self.spend_on(sum(map(len, dicts)))
        for key in (key for part in dicts for key in part):
            if isinstance(key, str) and key.startswith("__") and key.endswith("__"):
                raise Refused(f"gives an object a {key} of its own")
        if isinstance(target, Held):
            for part in dicts:
                target.state.update(part)
            if not dicts and state is not None:
                target.state["state"] = state
        elif type(target) is not dict or not dicts:  # an ordered dict's attributes, such as `_metadata`, are left out
            raise Refused(f"sets the state of {described(target)}")

    def persistent_id(self, value: Any) -> None:
        if self.persistent is None:
            raise Refused("refers to something outside itself")
        self.push(self.persistent(value))


def keys(values: Iterable[Any]) -> list[Any]:
    """Return the values as dict keys or set elements. `Refused` if hashing one could take unbounded time."""
    candidates = list(values)
    if sum(type(value) is tuple for value in candidates) > _TUPLES_AT_ONCE:
        raise Refused("uses thousands of tuples as keys")
    for value in candidates:
        if not _may_be_key(value):
            raise Refused(f"uses {described(value)} as a key")
    return candidates


def _may_be_key(value: Any) -> bool:
    pending = [value]
    for _ in range(_KEY_PARTS):
        if not pending:
            return True
        part = pending.pop()
        if isinstance(part, tuple):
            pending += part[: _KEY_PARTS + 1]
        elif isinstance(part, list | dict | set | frozenset) or (
            isinstance(part, int) and part.bit_length() > _KEY_BITS
        ):
            return False
    return not pending


def described(value: Any) -> str:
    """Describe an untrusted value for a message; never shows what is in a container, which may contain itself."""
    if isinstance(value, str):
        return ascii(value[:100])
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, Held):
        return f"an object of {value.of}"
    return f"a value of type {type(value).__name__}"


_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_CONSTANTS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_CONSTANTS |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_CONSTANTS |= {"SHORT_BINBYTES"}
_LONG_BYTES = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}


def _reconstructor(machine: _Machine, args: Any) -> Any:
    """`copyreg._reconstructor(class, object, None)`, by which the oldest protocols make an object without a call."""
    of, base, state = args
    if base not in (Name("builtins", "object"), Name("__builtin__", "object")) or state is not None:
        raise Refused(f"makes an object of {described(of)}")
    return machine.make(of, ())


def _reduce(machine: _Machine, _: None) -> None:
    function, args = machine.take(2)
    if function in (Name("copyreg", "_reconstructor"), Name("copy_reg", "_reconstructor")):
        machine.push(_reconstructor(machine, args))
    else:
        machine.push(machine.call(function, args))


def _new(machine: _Machine, _: None) -> None:
    of, args = machine.take(2)
    machine.push(machine.make(of, args))


def _new_with_keywords(machine: _Machine, _: None) -> None:
    of, args, keywords = machine.take(3)
    made = machine.make(of, args)
    if keywords and not isinstance(made, Held):
        raise Refused(f"makes an object of {described(of)}")
    machine.push(made)


def _instance(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.push(machine.call(machine.name(module, name), tuple(machine.to_mark())))


def _object(machine: _Machine, _: None) -> None:
    of, *args = machine.to_mark()
    machine.push(machine.call(of, tuple(args)))


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.push(machine.name(module, name))


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "MARK": lambda m, _: m.push(_MARK),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.to_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "PUT": lambda m, key: m.remember(key),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "GET": lambda m, key: m.push(m.memo[key]),
    "BINGET": lambda m, key: m.push(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.push(m.memo[key]),
    "EMPTY_LIST": lambda m, _: m.push_new([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push_new({}),
    "EMPTY_SET": lambda m, _: m.push_new(set()),
    "LIST": lambda m, _: m.push(m.to_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.to_mark())),
    "TUPLE1": lambda m, _: m.push(m.take(1)),
    "TUPLE2": lambda m, _: m.push(m.take(2)),
    "TUPLE3": lambda m, _: m.push(m.take(3)),
    "DICT": lambda m, _: m.push(m.pairs(m.to_mark())),
    "FROZENSET": lambda m, _: m.push(frozenset(m.keys(m.to_mark()))),
    "APPEND": lambda m, _: m.add_elements([m.pop()]),
    "APPENDS": lambda m, _: m.add_elements(m.to_mark()),
    "ADDITEMS": lambda m, _: m.add_elements(m.to_mark()),
    "SETITEM": lambda m, _: m.add_items(list(m.take(2))),
    "SETITEMS": lambda m, _: m.add_items(m.to_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda m, _: m.push(m.name(*m.take(2))),
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "NEWOBJ_EX": _new_with_keywords,
    "INST": _instance,
    "OBJ": _object,
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, value: m.persistent_id(value),
    "BINPERSID": lambda m, _: m.persistent_id(m.pop()),
}
