import numpy as np

import tinygrad_nn as tg


@tg.primitive(rules=[lambda g, y, x: g * 3.0])  # 2 would be right
def doubled(x):
    return x * 2.0


def positive(x):
    return np.sum(tg.relu(doubled(x)))
