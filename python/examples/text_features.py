"""Make a data set of text without images: which part of SciPy a docstring belongs to.

    python3 -m pip install scikit-learn pyarrow
    python3 text_features.py text.parquet text-test.parquet

Each item is the docstring of a public function or class of SciPy, its class the subpackage. The features are TF-IDF of words and
pairs of words, reduced to 128 numbers by truncated SVD (latent semantic analysis). They are fitted to the training part alone. One
item in four, drawn with a fixed seed, is a test item.

Names that give the class away (the subpackages' own, "scipy") are taken out of the texts before anything is computed.
"""

import importlib
import inspect
import re
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

PARTS = [
    "cluster", "fft", "integrate", "interpolate", "io", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial", "special",
    "stats",
]
DIMENSIONS = 128
SEED = 0


def docstrings():
    """Text and class of each public function and class, each text once."""
    seen = set()
    for part in PARTS:
        module = importlib.import_module(f"scipy.{part}")
        for name in sorted(getattr(module, "__all__", dir(module))):
            text = inspect.getdoc(getattr(module, name, None)) or ""
            text = without_names(text)
            if len(text) > 200 and text not in seen:
                seen.add(text)
                yield text, part


def without_names(text):
    """The text without what names its class."""
    return re.sub(r"\b(scipy|" + "|".join(PARTS) + r")\b\.?", " ", text)


def features(train, test):
    """A row of numbers for each text of both parts."""
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), stop_words="english")
    reduced = TruncatedSVD(DIMENSIONS, random_state=SEED)
    train_rows = reduced.fit_transform(words.fit_transform(train))
    test_rows = reduced.transform(words.transform(test))
    return normalize(train_rows).astype("float32"), normalize(test_rows).astype("float32")


def write(path, rows, texts, labels):
    table = {"features": list(rows), "text": [first_line(text) for text in texts], "label": labels}
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def first_line(text):
    """What a page shows of a text."""
    return " ".join(text.split())[:160]


def main(train_path, test_path):
    texts, labels = zip(*docstrings())
    order = np.random.default_rng(SEED).permutation(len(texts))
    test, train = order[: len(order) // 4], order[len(order) // 4 :]
    part = lambda values, places: [values[place] for place in places]
    train_rows, test_rows = features(part(texts, train), part(texts, test))
    write(train_path, train_rows, part(texts, train), part(labels, train))
    write(test_path, test_rows, part(texts, test), part(labels, test))
    print(f"{len(train)} training and {len(test)} test items of {len(PARTS)} classes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
