"""The peers that are written in Python: torch.optim (fused, foreach, compiled) and optax under jit.

Started by the driver, once for each framework and number of threads, and kept alive. It reads commands from stdin and
answers each with one line:

    new PEER RULE ELEMENTS PARAMS GRADS   files of f32; answers `ok` or `no REASON`
    run PEER STEPS                        answers the nanoseconds that each step took, by this process's own clock
    values PEER                           answers the first eight parameters
    drop                                  forgets all peers; answers `ok`
"""

import gc
import os
import sys
import time
from functools import partial

HYPERS = {
    "adam": dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8),
    "adamw": dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
    "amsgrad": dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, amsgrad=True),
    "adagrad": dict(lr=0.01, eps=1e-10),
    "rmsprop": dict(lr=0.01, alpha=0.99, eps=1e-8),
    "sgd": dict(lr=1e-3, momentum=0.9),
}


class Torch:
    """A `torch.optim` optimizer; `how` is fused, foreach or compile."""

    def __init__(self, how, rule, p, g):
        import torch

        classes = {
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
            "amsgrad": torch.optim.Adam,
            "adagrad": torch.optim.Adagrad,
            "rmsprop": torch.optim.RMSprop,
            "sgd": torch.optim.SGD,
        }
        if rule not in classes:
            raise ValueError("torch has no such optimizer")
        self.p = torch.nn.Parameter(torch.from_numpy(p))
        self.p.grad = torch.from_numpy(g)
        hypers = dict(HYPERS[rule])
        if how == "fused":
            hypers["fused"] = True
        else:
            hypers["foreach"] = how == "foreach"
        if how == "compile":
            # A number would be part of the code. (A tensor is not for foreach, which for one tensor makes no difference.)
            hypers["lr"] = torch.tensor(hypers["lr"])
        optimizer = classes[rule]([self.p], **hypers)
        self.step = torch.compile(optimizer.step) if how == "compile" else optimizer.step

    def values(self):
        return self.p.detach()[:8].tolist()


class Optax:
    """An optax optimizer: update and application in one jitted function that is given the memory of its arguments."""

    def __init__(self, _how, rule, p, g):
        import jax
        import optax

        transformations = {
            "adam": lambda: optax.adam(1e-3, 0.9, 0.999, 1e-8),
            "adamw": lambda: optax.adamw(1e-3, 0.9, 0.999, 1e-8, weight_decay=0.01),
            "amsgrad": lambda: optax.amsgrad(1e-3, 0.9, 0.999, 1e-8),
            "adagrad": lambda: optax.adagrad(0.01, initial_accumulator_value=0.0, eps=1e-10),
            "rmsprop": lambda: optax.rmsprop(0.01, decay=0.99, eps=1e-8, eps_in_sqrt=False),
            "lion": lambda: optax.lion(1e-4, 0.9, 0.99, weight_decay=0.0),
            "sgd": lambda: optax.sgd(1e-3, momentum=0.9),
        }
        transformation = transformations[rule]()
        self.p, self.g = jax.numpy.array(p), jax.numpy.array(g)
        self.state = transformation.init(self.p)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(p, state, g):
            updates, state = transformation.update(g, state, p)
            return optax.apply_updates(p, updates), state

        self.jitted = step
        self.ready = jax.block_until_ready

    def step(self):
        self.p, self.state = self.jitted(self.p, self.state, self.g)
        self.ready((self.p, self.state))

    def values(self):
        return self.p[:8].tolist()


def main():
    framework, threads = sys.argv[1], int(sys.argv[2])
    # What a framework prints goes where it does not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if framework == "torch":
        import torch

        torch.set_num_threads(threads)
        print(f"torch {torch.__version__}", file=answers)
    else:
        # XLA has as many threads as the process has processors.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        import jax
        import optax

        print(f"optax {optax.__version__} on jax {jax.__version__}", file=answers)
    import numpy

    peers = {}
    for line in sys.stdin:
        command, *words = line.split()
        if command == "new":
            name, rule, elements, params, grads = words
            read = lambda path: numpy.fromfile(path, dtype=numpy.float32, count=int(elements))
            try:
                how = name.split("-")[-1]
                peer = (Torch if framework == "torch" else Optax)(how, rule, read(params), read(grads))
                peer.step()
                peers[name] = peer
                print("ok", file=answers)
            except Exception as error:
                print("no", str(error).splitlines()[0][:120] if str(error) else type(error).__name__, file=answers)
        elif command == "run":
            peer, times = peers[words[0]], []
            for _ in range(int(words[1])):
                start = time.perf_counter_ns()
                peer.step()
                times.append(time.perf_counter_ns() - start)
            print(*times, file=answers)
        elif command == "values":
            print(*peers[words[0]].values(), file=answers)
        elif command == "drop":
            peers.clear()
            peer = None
            gc.collect()
            print("ok", file=answers)


if __name__ == "__main__":
    main()
