import numpy as np

import tinygrad_nn as tg

w = tg.tensor([1.0, -2.0], requires_grad=True, label="w")
opt = tg.optim.SGD([w], lr=0.25)


@tg.compile
def step(x):
    opt.zero_grad()
    loss = np.sum((x * w) ** 2)
    loss.backward()
    opt.step()
    return loss
