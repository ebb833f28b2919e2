#!/usr/bin/env python3
"""Train a classifier of handwritten digits and write what it learned to ./outputs.

A network with one hidden layer, trained by stochastic gradient descent on the
1,797 images of digits.csv.gz. It needs Python 3.9 and nothing else: no packages,
no network, no GPU. One line per epoch goes to standard output.

The folder of --out receives
  model.json            the weights, and how to feed an image to them
  metrics.json          accuracy, loss, time, every digit's precision and recall
  confusion-matrix.png  which digits were taken for which
"""

import argparse
import csv
import gzip
import json
import math
import random
import sys
import time
import zlib
from operator import mul
from pathlib import Path

# The folder may be read-only, or be zipped again: leave no __pycache__ in it.
sys.dont_write_bytecode = True
import heatmap  # noqa: E402

PIXELS = 64
MAX_PIXEL = 16
CLASSES = 10
HERE = Path(__file__).resolve().parent


def main(argv=None):
    options = parse(argv)
    try:
        metrics = run(options)
    except (OSError, ValueError) as err:
        sys.exit(f"train.py: {err}")
    say(f"test accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.4f}, "
        f"{metrics['seconds']:.1f} s; results in {options.out}")


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=positive(int), default=60, metavar="N",
                        help="passes over the training images (default %(default)s)")
    parser.add_argument("--hidden", type=positive(int), default=40, metavar="N",
                        help="units in the hidden layer (default %(default)s)")
    parser.add_argument("--lr", type=positive(float), default=0.05, metavar="RATE",
                        help="learning rate of the first epoch; it falls to zero along "
                             "half a cosine (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1998, metavar="N",
                        help="seed of the split, the weights and the order (default %(default)s)")
    parser.add_argument("--data", type=Path, default=HERE / "digits.csv.gz", metavar="FILE",
                        help="CSV, gzipped if it ends in .gz: 64 pixels of 0 to 16 and the "
                             "label (default: digits.csv.gz beside this script)")
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR",
                        help="where the results go; made if absent (default %(default)s)")
    return parser.parse_args(argv)


def positive(kind):
    def convert(text):
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value
    convert.__name__ = f"positive {kind.__name__}"  # argparse names it in its error
    return convert


def run(options):
    """Train, judge and write; returns the metrics."""
    started = time.perf_counter()
    # Made first: a folder that cannot be written should not cost a training run.
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    train, validation, test = split(read(options.data), rng)
    say(f"{len(train)} images to train on, {len(validation)} to validate, "
        f"{len(test)} to test; seed {options.seed}")

    network = Network(options.hidden, rng)
    say(f"network {PIXELS}-{options.hidden}-{CLASSES}, {network.size()} weights, "
        f"learning rate {options.lr:g}")
    history = fit(network, train, validation, options, rng)

    # Nothing above has seen the test images, so this figure is an honest one.
    loss, confusion = judge(network, test)
    metrics = {
        "accuracy": round(accuracy(confusion), 6),
        "loss": round(loss, 6),
        "validation_accuracy": history[-1]["validation_accuracy"],
        "validation_loss": history[-1]["validation_loss"],
        "train_loss": history[-1]["train_loss"],
        "epochs": options.epochs,
        "seconds": 0.0,
        "parameters": network.size(),
        "hidden": options.hidden,
        "learning_rate": options.lr,
        "seed": options.seed,
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "per_class": per_class(confusion),
        "confusion": confusion,
        "history": history,
    }
    write_json(options.out / "model.json", network.export())
    heatmap.write(options.out / "confusion-matrix.png", confusion)
    metrics["seconds"] = round(time.perf_counter() - started, 3)
    write_json(options.out / "metrics.json", metrics, indent=1)
    return metrics


def read(path):
    """Images as (pixels from 0 to 1 and a constant 1, label)."""
    opener = gzip.open if path.suffix == ".gz" else open
    images = []
    try:
        with opener(path, "rt", encoding="ascii", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                images.append(image(row, f"{path}, line {number}"))
    except EOFError:
        raise ValueError(f"{path}: the file is cut off") from None
    except (csv.Error, zlib.error) as err:
        raise ValueError(f"{path}: {err}") from None
    return images


def image(row, where):
    if len(row) != PIXELS + 1:
        raise ValueError(f"{where}: {len(row)} values instead of {PIXELS + 1}")
    try:
        *pixels, label = map(int, row)
    except ValueError:
        raise ValueError(f"{where}: not a whole number") from None
    if min(pixels) < 0 or max(pixels) > MAX_PIXEL or not 0 <= label < CLASSES:
        raise ValueError(f"{where}: pixels are 0 to {MAX_PIXEL}, labels 0 to {CLASSES - 1}")
    # The constant makes the bias one more weight, here and in the hidden layer.
    return [p / MAX_PIXEL for p in pixels] + [1.0], label


def split(images, rng):
    """Two thirds to train on, the rest to validate and to test, alike for every digit."""
    train, validation, test = [], [], []
    for digit in range(CLASSES):
        mine = [one for one in images if one[1] == digit]
        rng.shuffle(mine)
        fifth, eighth = len(mine) // 5, len(mine) // 8
        test += mine[:fifth]
        validation += mine[fifth:fifth + eighth]
        train += mine[fifth + eighth:]
    if not train or not validation or not test:
        raise ValueError(f"{len(images)} images are too few: at least 8 of one digit are needed")
    return train, validation, test


class Network:
    """One hidden layer of rectified linear units below a softmax."""

    def __init__(self, hidden, rng):
        # He initialisation keeps the signal's variance through rectified units.
        spread = math.sqrt(2 / PIXELS)
        self.below = [[rng.gauss(0, spread) for _ in range(PIXELS)] + [0.0]
                      for _ in range(hidden)]
        spread = math.sqrt(1 / hidden)
        self.above = [[rng.gauss(0, spread) for _ in range(hidden)] + [0.0]
                      for _ in range(CLASSES)]

    def size(self):
        return sum(map(len, self.below)) + sum(map(len, self.above))

    def forward(self, pixels):
        """The hidden layer's values and the probability of each digit."""
        # sum(map(mul, …)) is the fastest dot product that plain Python has.
        hidden = [max(0.0, sum(map(mul, unit, pixels))) for unit in self.below]
        hidden.append(1.0)
        scores = [sum(map(mul, unit, hidden)) for unit in self.above]
        top = max(scores)  # keeps exp from overflowing
        powers = [math.exp(score - top) for score in scores]
        total = sum(powers)
        return hidden, [power / total for power in powers]

    def learn(self, pixels, label, rate):
        """One step of gradient descent; returns the loss before it."""
        hidden, chances = self.forward(pixels)
        loss = cross_entropy(chances, label)
        errors = chances
        errors[label] -= 1.0  # the gradient of softmax and cross-entropy together
        blame = [sum(map(mul, weights, errors)) for weights in zip(*self.above)]
        for k, error in enumerate(errors):
            step = rate * error
            self.above[k] = [w - step * h for w, h in zip(self.above[k], hidden)]
        for j, unit in enumerate(self.below):
            if hidden[j] > 0:  # a silent unit has no gradient
                step = rate * blame[j]
                self.below[j] = [w - step * p for w, p in zip(unit, pixels)]
        return loss

    def export(self):
        return {
            "format": "peergpu-example-mlp",
            "version": 1,
            "layers": [PIXELS, len(self.below), CLASSES],
            "activation": ["relu", "softmax"],
            "input": f"{PIXELS} pixels, row by row, each divided by {MAX_PIXEL}",
            "classes": list(range(CLASSES)),
            "weights": [rounded(unit[:-1] for unit in layer)
                        for layer in (self.below, self.above)],
            "biases": rounded([unit[-1] for unit in layer]
                              for layer in (self.below, self.above)),
        }


def fit(network, train, validation, options, rng):
    """Run the epochs, a line for each; returns their figures."""
    history = []
    for epoch in range(options.epochs):
        started = time.perf_counter()
        rate = options.lr * (1 + math.cos(math.pi * epoch / options.epochs)) / 2
        rng.shuffle(train)
        total = sum(network.learn(pixels, label, rate) for pixels, label in train)
        loss = total / len(train)
        if not math.isfinite(loss):
            raise ValueError(f"the loss diverged in epoch {epoch + 1}; try a smaller --lr")
        validation_loss, confusion = judge(network, validation)
        history.append({
            "epoch": epoch + 1,
            "train_loss": round(loss, 6),
            "validation_loss": round(validation_loss, 6),
            "validation_accuracy": round(accuracy(confusion), 6),
        })
        say(f"epoch {epoch + 1:{len(str(options.epochs))}}/{options.epochs}"
            f"  loss {loss:.4f}  validation loss {validation_loss:.4f}"
            f"  accuracy {accuracy(confusion):.4f}  {time.perf_counter() - started:.2f} s")
    return history


def judge(network, images):
    """Mean loss, and the confusion matrix: a row per true digit, a column per guess."""
    confusion = [[0] * CLASSES for _ in range(CLASSES)]
    loss = 0.0
    for pixels, label in images:
        chances = network.forward(pixels)[1]
        loss += cross_entropy(chances, label)
        confusion[label][chances.index(max(chances))] += 1
    return loss / len(images), confusion


def cross_entropy(chances, label):
    return -math.log(max(chances[label], 1e-300))


def accuracy(confusion):
    return sum(row[i] for i, row in enumerate(confusion)) / sum(map(sum, confusion))


def per_class(confusion):
    report = {}
    for digit, row in enumerate(confusion):
        right, support = row[digit], sum(row)
        guessed = sum(other[digit] for other in confusion)
        report[str(digit)] = {
            "precision": ratio(right, guessed),
            "recall": ratio(right, support),
            "f1": ratio(2 * right, support + guessed),
            "support": support,
        }
    return report


def ratio(part, whole):
    return round(part / whole, 6) if whole else 0.0


def rounded(rows):
    return [[round(value, 6) for value in row] for row in rows]


def write_json(path, value, indent=None):
    text = json.dumps(value, indent=indent, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def say(line):
    # Into a pipe Python writes blocks; whoever follows the log wants lines.
    print(line, flush=True)


if __name__ == "__main__":
    main()
