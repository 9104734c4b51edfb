"""Writes the files of this folder: features of twelve images, in another order than the images, as pandas stores them.

    python -m pip install pandas pyarrow && python make.py
"""

import numpy
import pandas

images = [f"set/{name}/{i:02}.png" for name in "ab" for i in range(6)]
features = [[float(i * 7 % 12), float(i * 5 % 11), float(i), float(i * i % 13)] for i in range(12)]
order = [i * 5 % 12 for i in range(12)]
frame = pandas.DataFrame(
    {
        "file": [images[i] for i in order],
        "width": [640.0 + i for i in order],
        "label": [float(i // 6) for i in order],
        "embedding": [features[i] for i in order],
    }
)
for compression in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    frame.to_parquet(f"{compression}.parquet", compression=None if compression == "none" else compression)

# A column for each number, and the names as the index of the table.
wide = pandas.DataFrame(features, columns=[f"f{i}" for i in range(4)], index=images).iloc[order]
wide.to_parquet("wide.parquet", compression="gzip")
# The same with the numbers of the rows as the index, which pandas keeps where rows were moved.
wide.reset_index(drop=True).iloc[order].to_parquet("moved.parquet")

# An array of Python strings, which is what a column of pandas becomes, and one of other objects.
matrix = numpy.array([features[i] for i in order], dtype="float32")
names = numpy.array([images[i] for i in order], dtype=object)
numpy.savez("objects.npz", features=matrix, filename=names, notes=numpy.array([{}] * 12, dtype=object))
