"""Clustering of scikit-learn's handwritten digits (1797 images of 8x8) by mixtures of von Mises-Fisher distributions.

    python examples/vmf_digits.py [STARTS]

An image is taken as a direction: its brightness is divided out. Accuracy counts images in the best one-to-one
matching of clusters with digits; NMI is the normalised mutual information. k-means on the same unit vectors stands
beside. The best of STARTS (20) counts. Needs omniconv and scikit-learn.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from omniconv.vmf import VmfMixture


def accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Share of the images in the best matching of clusters with labels."""
    counts = contingency_matrix(labels, clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return counts[rows, columns].sum() / labels.size


def main(starts: int) -> None:
    """Fit, compare, print."""
    images, labels = load_digits(return_X_y=True)
    x = images / np.linalg.norm(images, axis=1, keepdims=True)
    models = {
        "vMF, soft": VmfMixture(10, n_init=starts, seed=0),
        "vMF, hard": VmfMixture(10, n_init=starts, seed=0, assignment="hard"),
        "vMF, soft, one kappa": VmfMixture(10, n_init=starts, seed=0, tied_kappa=True),
        "k-means": KMeans(10, n_init=starts, random_state=0),
    }
    print(f"{'model':22} accuracy    NMI  log-likelihood      BIC   kappas")
    for name, model in models.items():
        clusters = model.fit(x).predict(x)
        line = f"{name:22} {accuracy(labels, clusters):8.3f} {normalized_mutual_info_score(labels, clusters):6.3f}"
        if isinstance(model, VmfMixture):
            low, high = model.kappas_.min(), model.kappas_.max()
            line += f" {model.score(x):15.3f} {model.bic(x):8.0f}   {low:.0f} to {high:.0f}"
        print(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
