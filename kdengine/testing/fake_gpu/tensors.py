"""Tensors with real numbers, on the CPU, that say they are on ``cuda:0``, and the rules that a GPU has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdengine.testing.fake_gpu.forbidden import MAY_MIX, ROUNDED_BY_TF32, WAITS
from kdengine.testing.fake_gpu.watch import watch
from kdengine.training.determinism import lacks_deterministic_form

aten = torch.ops.aten


class OnGpu(Tensor):
    """A tensor of the stand-in; ``elem`` is what holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    elem: Tensor

    @staticmethod
    def __new__(cls: type[OnGpu], elem: Tensor, requires_grad: bool = False) -> OnGpu:
        """Puts a tensor of the host, as it is, on the card."""
        made: OnGpu = Tensor._make_subclass(cls, elem, requires_grad)
        made.elem = elem
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return dispatch(func, args, kwargs or {})

    device = property(lambda self: watch().device)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        """Number of the card."""
        return watch().index

    def pin_memory(self, *_: Any) -> Tensor:
        """Refused, as CUDA does."""
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Refused, as CUDA does."""
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """The numbers; the host waits for them."""
        watch().waits("tolist()")
        return self.elem.tolist()

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        """A copy on the host."""
        return self.to("cpu")

    def cuda(self, *_: Any, **__: Any) -> Tensor:
        """Itself."""
        return self

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As torch's: another kind of numbers, layout or place."""
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype)
        copy = kwargs.pop("copy", False)
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            watch().to_host = True
            try:
                on_host: Tensor = aten._to_copy.default(self, device=device, dtype=dtype or self.dtype)
                return on_host
            finally:
                watch().to_host = False
        if copy or (dtype is not None and dtype != self.dtype):
            more = {} if layout is None else {"memory_format": layout}
            copied: Tensor = aten._to_copy.default(self, dtype=dtype or self.dtype, **more)
            return copied
        return self if layout is None else self.contiguous(memory_format=layout)

    def type_as(self, other: Tensor) -> Tensor:
        """As torch's."""
        return self.to(other)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                made = OnGpu(self.elem.detach().clone(), self.requires_grad)
            if getattr(self, "_is_param", False):
                made._is_param = True
            memo[id(self)] = made
        copied: Tensor = memo[id(self)]
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.elem.detach().__reduce_ex__(protocol)


def is_cuda(device: Any) -> bool:
    """Whether a device, or the name of one, is a GPU."""
    return device is not None and torch.device(device).type == "cuda"


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Does one operation on the CPU's numbers, after a look at what a GPU would say of it."""
    tensors = tensors_in((args, kwargs))
    name = func._schema.name.removeprefix("aten::")
    on_gpu = [value for value in tensors if isinstance(value, OnGpu)]
    on_host = [value for value in tensors if not isinstance(value, OnGpu)]
    goal = _goal(kwargs, bool(on_gpu), bool(on_host))
    if on_gpu or goal:
        _check(func, name, args, kwargs, on_gpu, on_host, goal)
    known = {id(value.elem): value for value in on_gpu}
    plain_args, plain_kwargs = mapped(args, _plain), mapped(kwargs, _plain)
    if plain_kwargs.get("pin_memory"):
        plain_kwargs["pin_memory"] = False
    if on_gpu and watch().tf32 and name in ROUNDED_BY_TF32 and _tf32_allowed(name):
        plain_args, plain_kwargs = mapped(plain_args, _as_tf32), mapped(plain_kwargs, _as_tf32)
    tape = watch().tape
    if tape is not None:
        tape.before(func, plain_args)
    result = func(*plain_args, **plain_kwargs)
    if tape is not None:
        tape.after(func, plain_args, plain_kwargs, result)

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, OnGpu) or any(value is each for each in on_host):
            return value
        if id(value) in known:
            return known[id(value)]
        return OnGpu(value) if goal else value

    return mapped(result, wrapped)


def tensors_in(tree: Any) -> list[Tensor]:
    """Those in nested lists, tuples and mappings. torch's own walk knows all kinds of containers, of which an
    operation's arguments have none, and took two thirds of a run's time."""
    found: list[Tensor] = []
    _collect((tree,), found)
    return found


def _collect(values: Iterable[Any], found: list[Tensor]) -> None:
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            _collect(value, found)
        elif isinstance(value, dict):
            _collect(value.values(), found)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same lists, tuples and mappings with other leaves; a `torch.Size` is a leaf."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([mapped(each, change) for each in value])
    if kind is dict:
        return {key: mapped(each, change) for key, each in value.items()}
    return change(value)


def _goal(kwargs: dict[str, Any], on_gpu: bool, on_host: bool) -> bool:
    """Whether the result lies on the GPU.

    PyTorch's C++ passes on the device that it knows of a tensor, which is the CPU; only what Python named counts.
    """
    state = watch()
    _, gpu_before, named = state.calls[-1] if state.calls else (None, False, False)
    device = kwargs.get("device")
    if device is not None:
        said = state.to_host or named or not (gpu_before or state.backward)
        return is_cuda(device) or not said
    if on_gpu:
        return True
    return not on_host and bool(state.backward or gpu_before)


def _plain(value: Any) -> Any:
    if isinstance(value, OnGpu):
        return value.elem
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


def _check(
    func: Any, name: str, args: Any, kwargs: dict[str, Any], on_gpu: list[OnGpu], on_host: list[Tensor], goal: bool
) -> None:
    """Raises what CUDA would raise, and notes what makes the host wait."""
    state = watch()
    if on_gpu and goal and name not in MAY_MIX and any(value.dim() for value in on_host):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func})"
        )
    generator = kwargs.get("generator")
    if goal and isinstance(generator, torch.Generator):  # there are only the CPU's here
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' ({func})")
    if torch.are_deterministic_algorithms_enabled() and lacks_deterministic_form(func):
        raise RuntimeError(
            f"{name} does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'"
        )
    if on_gpu and state.tape is not None and name != "copy_" and any(not value.dim() for value in on_host):
        state.waits(f"{name} with a number that lies on the host")
    if on_gpu and name in WAITS and not (name == "_local_scalar_dense" and state.inside_one_hot):
        state.waits(name)
    if name.startswith(("index", "_index_put")) and name in MAY_MIX and on_gpu:
        _check_index(name, args[1], *args[2:3])
    if name in ("_to_copy", "copy_"):
        source, to_gpu = (args[0], goal) if name == "_to_copy" else (args[1], isinstance(args[0], OnGpu))
        if isinstance(source, OnGpu) != to_gpu:
            state.waits("a copy from the device" if isinstance(source, OnGpu) else "a copy to the device")


def _check_index(name: str, places: Any, value: Any = None) -> None:
    if isinstance(value, Tensor) and not isinstance(value, OnGpu):
        watch().waits(f"{name} of a number that lies on the host")
    for place in places:
        if isinstance(place, Tensor) and place.dtype in (torch.bool, torch.uint8):
            watch().waits(f"{name} by a boolean mask")
        if isinstance(place, Tensor) and not isinstance(place, OnGpu):
            watch().waits(f"{name} by places that lie on the host")


def _tf32_allowed(name: str) -> bool:
    backend = torch.backends.cudnn if "convolution" in name else torch.backends.cuda.matmul
    return bool(backend.allow_tf32)


def _as_tf32(value: Any) -> Any:
    """A float32 tensor rounded to the ten stored bits that tensor cores read of each factor."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    return ((value.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).view_as(value)


class Operations(TorchDispatchMode):
    """Sees the operations that have no tensor of the stand-in among their arguments yet."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """There is nothing here that a compiler would see: its guard around each operation costs as much as some."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class Calls(TorchFunctionMode):
    """Sees what Python calls, before PyTorch's C++ has lost the device that was named."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and is_cuda(kwargs.get("device")):
            if isinstance(args[0], OnGpu):
                return args[0]
            watch().waits("a tensor made of numbers of the host")
            made = func(*args, **kwargs | {"device": "cpu"})
            return OnGpu(made.detach(), made.requires_grad)
        if func in (Tensor.to, Tensor.cuda) and not isinstance(args[0], OnGpu):
            moved = _moved(func, args, kwargs)
            if moved is not None:
                return moved
        on_gpu = any(isinstance(tensor, OnGpu) for tensor in tensors_in((args, kwargs)))
        backward = getattr(func, "__name__", "") in ("backward", "grad", "run_backward")
        watch().calls.append((func, on_gpu, "device" in kwargs))
        watch().backward += backward
        try:
            return func(*args, **kwargs)
        finally:
            watch().calls.pop()
            watch().backward -= backward


def _moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """A tensor of the host on the GPU; None where it is not to go there."""
    tensor, *rest = args
    if rest and isinstance(rest[0], Tensor):
        rest = [rest[0].device, rest[0].dtype]
    named = {key: value for key, value in kwargs.items() if key != "copy"}
    device, dtype, layout = watch().device, None, None
    if func is Tensor.to:
        device, dtype, _, layout = torch._C._nn._parse_to(*rest, **named)
    if not is_cuda(device):
        return None
    watch().waits(f"a copy of {tensor.numel()} numbers to the device")
    copied = tensor.detach().clone()
    if layout is not None and tensor.dim() == 4:
        copied = copied.contiguous(memory_format=layout)
    return OnGpu(copied if dtype is None else copied.to(dtype), tensor.requires_grad)
