"""Checks the digits job in a few seconds: python3 -m unittest."""

import contextlib
import gzip
import io
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import heatmap  # noqa: E402
import train  # noqa: E402

DATA = HERE / "digits.csv.gz"
OUTPUTS = ["confusion-matrix.png", "metrics.json", "model.json"]


def call(*argv):
    """What the script prints, run in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        train.main([str(arg) for arg in argv])
    return out.getvalue()


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def csv(self, text):
        path = self.folder / "data.csv"
        path.write_text(text, encoding="ascii")
        return path

    def few(self, rows):
        with gzip.open(DATA, "rt", encoding="ascii") as file:
            return self.csv("".join(itertools.islice(file, rows)))


class Training(Folder):
    def test_a_short_run_learns_and_writes_its_three_files(self):
        out = self.folder / "deep" / "outputs"
        printed = call("--epochs", 5, "--hidden", 16, "--data", self.few(500), "--out", out)

        self.assertEqual(sorted(path.name for path in out.iterdir()), OUTPUTS)
        self.assertEqual(printed.count("epoch "), 5)
        metrics = json.loads((out / "metrics.json").read_text())
        self.assertGreater(metrics["accuracy"], 0.75)
        self.assertEqual(metrics["epochs"], 5)
        self.assertEqual(len(metrics["history"]), 5)
        self.assertLess(metrics["history"][-1]["train_loss"], metrics["history"][0]["train_loss"])
        self.assertEqual(sum(metrics["images"].values()), 500)
        self.assertEqual(sum(map(sum, metrics["confusion"])), metrics["images"]["test"])
        self.assertEqual(sum(one["support"] for one in metrics["per_class"].values()),
                         metrics["images"]["test"])
        model = json.loads((out / "model.json").read_text())
        self.assertEqual(model["layers"], [64, 16, 10])
        self.assertEqual([len(layer) for layer in model["weights"]], [16, 10])

    def test_the_same_seed_gives_the_same_model_and_another_seed_another(self):
        data = self.few(120)
        models = []
        for number, seed in enumerate((1, 1, 2)):
            out = self.folder / str(number)
            call("--epochs", 1, "--hidden", 4, "--seed", seed, "--data", data, "--out", out)
            models.append((out / "model.json").read_text())
        self.assertEqual(models[0], models[1])
        self.assertNotEqual(models[0], models[2])

    def test_the_saved_model_predicts_as_the_metrics_say(self):
        out = self.folder / "outputs"
        call("--epochs", 2, "--hidden", 8, "--out", out)
        model = json.loads((out / "model.json").read_text())
        network = train.Network(8, random.Random(0))
        network.below, network.above = (
            [weights + [bias] for weights, bias in zip(layer, biases)]
            for layer, biases in zip(model["weights"], model["biases"]))
        _, _, test = train.split(train.read(DATA), random.Random(1998))
        metrics = json.loads((out / "metrics.json").read_text())
        self.assertEqual(train.judge(network, test)[1], metrics["confusion"])

    def test_every_image_is_in_exactly_one_part(self):
        images = train.read(DATA)
        self.assertEqual(len(images), 1797)
        parts = train.split(images, random.Random(3))
        self.assertEqual([len(part) for part in parts], [1223, 219, 355])
        seen = [id(one) for part in parts for one in part]
        self.assertEqual(sorted(seen), sorted(map(id, images)))

    def test_a_step_follows_the_measured_gradient(self):
        rng = random.Random(4)
        pixels, label = [rng.random() for _ in range(64)] + [1.0], 7
        network = train.Network(5, rng)
        rate, nudge = 1e-3, 1e-5
        before = [row[:] for row in network.below], [row[:] for row in network.above]

        def slope(layer, j, i):
            losses = []
            for sign in (1, -1):
                layer[j][i] += sign * nudge
                losses.append(train.cross_entropy(network.forward(pixels)[1], label))
                layer[j][i] -= sign * nudge
            return (losses[0] - losses[1]) / (2 * nudge)

        places = [(which, j, i) for which, width in ((0, 65), (1, 6))
                  for j in range(5) for i in (0, 3, width - 1)]
        slopes = [slope((network.below, network.above)[which], j, i) for which, j, i in places]
        network.learn(pixels, label, rate)
        after = network.below, network.above
        for (which, j, i), expected in zip(places, slopes):
            moved = (before[which][j][i] - after[which][j][i]) / rate
            self.assertAlmostEqual(moved, expected, places=6)


class Process(Folder):
    def test_lines_arrive_through_a_pipe_while_it_still_trains(self):
        env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        command = [sys.executable, str(HERE / "train.py"), "--epochs", "1000",
                   "--data", str(self.few(400))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env,
                              cwd=self.folder) as process:
            printed = b""
            while printed.count(b"\n") < 4:
                block = os.read(process.stdout.fileno(), 65536)
                self.assertTrue(block, f"it ended after {printed}")
                printed += block
            self.assertIsNone(process.poll())
            process.kill()
        # Were the lines held back, the first to come would be a whole block.
        self.assertLess(len(printed), 1024)
        self.assertIn(b"\nepoch    1/1000  loss ", printed)

    def test_bad_input_is_named_and_fails(self):
        good = ",".join(["1"] * 65) + "\n"
        cases = {
            "line 2: 3 values instead of 65": good + "1,2,3\n",
            "line 1: not a whole number": good.replace("1", "x", 1),
            "line 1: pixels are 0 to 16": good.replace("1", "17", 1),
            "1 images are too few": good,
            "0 images are too few": "",
        }
        for expected, text in cases.items():
            with self.subTest(expected), self.assertRaises(SystemExit) as caught:
                call("--data", self.csv(text), "--out", self.folder / "outputs")
            self.assertIn(expected, str(caught.exception))

    def test_a_cut_a_broken_and_a_missing_file_are_named(self):
        cut = self.folder / "cut.csv.gz"
        cut.write_bytes(DATA.read_bytes()[:1000])
        broken = self.folder / "broken.csv.gz"
        data = DATA.read_bytes()
        broken.write_bytes(data[:500] + bytes(500) + data[1000:])
        absent = self.folder / "none.csv"
        for path, expected in ((cut, "cut off"), (broken, "broken.csv.gz: "),
                               (absent, "No such file")):
            with self.subTest(expected), self.assertRaises(SystemExit) as caught:
                call("--data", path, "--out", self.folder / "outputs")
            self.assertIn(expected, str(caught.exception))

    def test_senseless_options_are_refused(self):
        for option in (["--epochs", "0"], ["--hidden", "-1"], ["--lr", "nan"], ["--lr", "inf"]):
            with self.subTest(option), contextlib.redirect_stderr(io.StringIO()) as err, \
                    self.assertRaises(SystemExit) as caught:
                train.main(option)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn("invalid positive", err.getvalue())


class Picture(Folder):
    def test_the_picture_is_a_sound_png_coloured_by_share(self):
        confusion = [[10 if i == j else 0 for j in range(10)] for i in range(10)]
        confusion[2][5] = 10
        path = self.folder / "matrix.png"
        heatmap.write(path, confusion)

        data, chunks = path.read_bytes(), {}
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        at = 8
        while at < len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            body = data[at + 8:at + 8 + size]
            self.assertEqual(struct.unpack_from(">I", data, at + 8 + size)[0],
                             zlib.crc32(kind + body))
            chunks[kind] = body
            at += 12 + size
        self.assertEqual(list(chunks), [b"IHDR", b"IDAT", b"IEND"])
        width, height = struct.unpack_from(">II", chunks[b"IHDR"])
        raw = zlib.decompress(chunks[b"IDAT"])
        self.assertEqual(len(raw), height * (1 + 3 * width))

        def corner(i, j):
            x, y = heatmap.LEFT + j * heatmap.CELL + 3, heatmap.TOP + i * heatmap.CELL + 3
            at = y * (1 + 3 * width) + 1 + 3 * x
            return tuple(raw[at:at + 3])

        self.assertEqual(corner(0, 0), heatmap.RIGHT_HUE)
        self.assertEqual(corner(0, 1), heatmap.PAPER)
        self.assertNotIn(corner(2, 5), (heatmap.PAPER, heatmap.RIGHT_HUE))


if __name__ == "__main__":
    unittest.main()
