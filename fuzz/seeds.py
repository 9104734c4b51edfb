"""Write the seeds of the targets that read data files: python3 fuzz/seeds.py. Needs numpy, pyarrow and Pillow.

The files are small: a fuzzer changes every byte of them.
"""

import gzip
import io
import json
import pathlib
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SEEDS = pathlib.Path(__file__).parent / "seeds"
ROWS = np.arange(12, dtype="<f4").reshape(4, 3) / 8


def write(target, name, content):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def saved(save, *arguments, **options):
    buffer = io.BytesIO()
    save(buffer, *arguments, **options)
    return buffer.getvalue()


def pickles():
    value = {"data": [1, -2, 300, 2**40, 2**70, 1.5, None, True, b"x", "\u00e4", (1, 2), {3}], "labels": [0, 1]}
    for protocol in range(6):
        write("pickle", f"values-{protocol}.pickle", pickle.dumps(value, protocol))
    batch = {b"data": np.zeros((1, 3072), dtype="u1")[:, :8], b"labels": [0]}
    for protocol in (2, 4, 5):
        write("pickle", f"array-{protocol}.pickle", pickle.dumps(batch, protocol))


def numpy_files():
    for name, array in {"f4": ROWS, "f8": ROWS.astype("<f8"), "f2": ROWS.astype("<f2"), "big": ROWS.astype(">f4")}.items():
        write("npy", f"{name}.npy", saved(np.save, array))
    write("npy", "version-2.npy", saved(np.lib.format.write_array, ROWS, version=(2, 0)))
    names = np.array(["a.png", "b.png", "c.png", "d.png"])
    write("npz", "features.npz", saved(np.savez_compressed, features=ROWS, ids=np.arange(4), filename=names))
    write("npz", "objects.npz", saved(np.savez, features=ROWS, filename=names.astype(object), allow_pickle=True))
    images = np.arange(16, dtype="u1").reshape(4, 2, 2)
    write("npz", "images.npz", saved(np.savez_compressed, x_train=images, y_train=np.array([0, 1, 0, 1])))
    first = np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 2, 2) / 23)
    write("npz", "layouts.npz", saved(np.savez_compressed, x_train=first, y_train=np.eye(2, dtype="<f4")))


def parquet():
    lists = pa.array(list(ROWS), type=pa.list_(pa.float32()))
    tables = {
        "lists": {"file": ["a", "b", "c", "d"], "features": lists},
        "scalars": {"id": [0, 1, 2, 3], "f0": ROWS[:, 0], "f1": ROWS[:, 1]},
    }
    for name, columns in tables.items():
        for compression in ("none", "snappy", "zstd", "gzip", "brotli", "lz4"):
            content = saved(lambda file: pq.write_table(pa.table(columns), file, compression=compression))
            write("parquet", f"{name}-{compression}.parquet", content)
    content = saved(lambda file: pq.write_table(pa.table(tables["lists"]), file, data_page_version="2.0"))
    write("parquet", "pages-2.parquet", content)


def hub():
    """Images in Parquet, as the Hugging Face Hub has them."""
    picture = Image.fromarray(np.arange(48, dtype="u1").reshape(4, 4, 3) * 5)
    bytes_ = [saved(picture.save, kind) for kind in ("PNG", "JPEG", "GIF")]
    struct_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(bytes_)], type=struct_)
    label = {"names": ["ant", "bee"], "_type": "ClassLabel"}
    said = json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})
    table = pa.table({"image": images, "label": pa.array([0, 1, 1])})
    table = table.replace_schema_metadata({"huggingface": said})
    for compression in ("none", "snappy", "zstd", "gzip"):
        content = saved(lambda file: pq.write_table(table, file, compression=compression, row_group_size=2))
        write("parquet", f"hub-{compression}.parquet", content)
    plain = pa.table({"img": pa.array(bytes_ * 2, type=pa.binary()), "class": pa.array(["x", "y", None] * 2)})
    content = saved(lambda file: pq.write_table(plain, file, data_page_version="2.0", use_dictionary=True))
    write("parquet", "hub-plain.parquet", content)
    paths = pa.table({"path": ["a/1.png", "2.png"], "label": ["x", "y"], "split": ["train", "test"]})
    write("paths", "table.parquet", saved(lambda file: pq.write_table(paths, file)))
    write("paths", "table.csv", b"file_name,label\na/1.png,cat\n2.png,dog\n")
    write("paths", "table.tsv", b"id\tsplit\tclass\n1\ttrain\t3\n2\tval\t4\n")
    write("paths", "quoted.csv", b'\xef\xbb\xbf"path";"label"\r\n"a\n1.png";"c;at"\r\n2.png;dog\r\n')
    write("paths", "table.csv.gz", gzip.compress(b"path,y\n1.png,0\n2.png,1\n", mtime=0))


def safetensors():
    ids = np.arange(4, dtype="<i8")
    header = {
        "features": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
        "ids": {"dtype": "I64", "shape": [4], "data_offsets": [48, 80]},
    }
    text = json.dumps(header).encode()
    write("safetensors", "rows.safetensors", struct.pack("<Q", len(text)) + text + ROWS.tobytes() + ids.tobytes())


def idx():
    images = struct.pack(">IIII", 0x803, 2, 2, 2) + bytes(range(8))
    write("idx", "images", images)
    write("idx", "images.gz", gzip.compress(images, mtime=0))
    write("idx", "labels", struct.pack(">II", 0x801, 2) + bytes([0, 1]))


def tables():
    write("csv", "plain.csv", b"a,b,c,d,label\n1,2,3,4,cat\n5,6,7,8,dog\n")
    write("csv", "quoted.csv", b'1;2;3;4;"c;\nat"\r\n5;6;7;8;dog\r\n')
    write("csv", "plain.csv.gz", gzip.compress(b"1,2,3,4,0\n5,6,7,8,1\n", mtime=0))


def images():
    picture = Image.fromarray(np.arange(48, dtype="u1").reshape(4, 4, 3) * 5)
    kinds = {
        "colour.png": picture,
        "grey.png": picture.convert("L"),
        "palette.png": picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=4),
        "transparent.png": picture.convert("RGBA"),
        "deep.png": Image.fromarray(np.arange(16, dtype="u2").reshape(4, 4) * 4000),
        "colour.jpg": picture,
        "grey.jpg": picture.convert("L"),
        "inks.jpg": picture.convert("CMYK"),
    }
    for name, image in kinds.items():
        kind = "PNG" if name.endswith("png") else "JPEG"
        write("image", name, saved(image.save, kind))
    write("image", "progressive.jpg", saved(picture.save, "JPEG", progressive=True))
    exif = Image.Exif()
    exif[0x0112] = 6
    write("image", "turned.jpg", saved(picture.save, "JPEG", exif=exif))
    grey_16 = Image.fromarray(np.arange(16, dtype="u2").reshape(4, 4) * 4000)
    for name, image, kind, options in (
        ("colour.webp", picture, "WEBP", {"lossless": True}),
        ("lossy.webp", picture, "WEBP", {"quality": 60}),
        ("colour.bmp", picture, "BMP", {}),
        ("palette.bmp", picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "BMP", {}),
        ("plain.tif", picture, "TIFF", {}),
        ("lzw.tif", picture, "TIFF", {"compression": "tiff_lzw"}),
        ("deep.tif", grey_16, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("fax.tif", picture.convert("1"), "TIFF", {"compression": "group4"}),
        ("inks.tif", picture.convert("CMYK"), "TIFF", {}),
        ("pages.tif", picture, "TIFF", {"save_all": True, "append_images": [picture]}),
        ("still.gif", picture, "GIF", {}),
    ):
        write("image", name, saved(image.save, kind, **options))
    frames = [picture, picture.transpose(Image.Transpose.ROTATE_90)]
    for name, kind in {"moving.gif": "GIF", "moving.webp": "WEBP", "moving.png": "PNG"}.items():
        write("image", name, saved(frames[0].save, kind, save_all=True, append_images=frames[1:], duration=20))


def archives():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("set/a/1.png", "set/b/" + "long" * 40 + ".png", "set/__MACOSX/._1.png", "set/b/\u00e4.png"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    write("tar", "set.tar", buffer.getvalue())
    write("tar", "set.tar.gz", gzip.compress(buffer.getvalue(), mtime=0))
    for name, method in {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}.items():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for member in ("set/a/1.png", "set/b/2.png", "__MACOSX/._1.png", "set/b/\u00e4.png"):
                archive.writestr(zipfile.ZipInfo(member), b"abc" * 9, method)
            archive.mkdir("set/empty")
        write("zip", name, buffer.getvalue())


def labels():
    task = {
        "id": 7,
        "data": {"image": "/data/local-files/?d=b/1.png"},
        "annotations": [
            {
                "id": 3,
                "completed_by": {"email": "a@example.org"},
                "created_at": "2026-01-02T03:04:05Z",
                "result": [{"from_name": "label", "type": "choices", "value": {"choices": ["cat"]}}],
            }
        ],
    }
    write("labels", "studio.json", json.dumps([task]).encode())
    write("labels", "studio-min.json", json.dumps([{"id": 7, "image": "b/1.png", "label": "cat"}]).encode())
    write("labels", "table.csv", b"image,label\na.png,cat\nb/1.png,dog\n")
    write("labels", "table-16.csv", "image;label\na.png;cat\n".encode("utf-16"))
    write("labels", "table.csv.gz", gzip.compress(b"image,label\na.png,cat\n", mtime=0))


if __name__ == "__main__":
    for seeds in (pickles, numpy_files, parquet, hub, safetensors, idx, tables, images, archives, labels):
        seeds()
