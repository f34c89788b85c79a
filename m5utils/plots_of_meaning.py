"""Draw what is alike in meaning: similarity against similarity, answers before and after training.

Knows arrays and pictures. Must not compute a result, and writes no file.
"""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from m5utils.plots import PAGE, grid, style


def similarity_maps(pairs: dict[str, tuple[np.ndarray, np.ndarray]], xlabel: str, ylabel: str) -> Figure:
    """How many pairs of images have which two similarities, a panel per method; darker is more.

    In the title stands Pearson's correlation of the two.

    Args:
        pairs: Method name to (n,) x and (n,) y.
        xlabel: Of all panels.
        ylabel: Of the first.
    """
    with style():
        figure, axes = grid(len(pairs), 1, PAGE, 0.5 + PAGE / max(len(pairs), 2) * 0.8)
        for axis, (name, (x, y)) in zip(axes.flat, pairs.items(), strict=True):
            axis.hist2d(x, y, bins=60, cmap="viridis_r", norm=LogNorm(), rasterized=True)
            varies = np.ptp(x) > 0 and np.ptp(y) > 0
            said = f"r = {np.corrcoef(x, y)[0, 1]:.2f}" if varies else "r undefined"
            axis.set(title=f"{name} ({said})", xlabel=xlabel)
        axes.flat[0].set_ylabel(ylabel)
        return figure
