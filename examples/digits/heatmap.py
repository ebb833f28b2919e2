"""Draw a confusion matrix as a PNG with nothing but zlib and struct."""

import struct
import zlib

CELL = 48
LEFT, TOP, MARGIN = 84, 84, 24
PAPER, INK, FAINT = (255, 255, 255), (30, 41, 59), (226, 232, 240)
RIGHT_HUE, WRONG_HUE = (4, 120, 87), (190, 18, 60)

# 5×7 pixels a glyph, one number a row, the leftmost pixel its highest bit.
FONT = {
    "0": (14, 17, 19, 21, 25, 17, 14), "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31), "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2), "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14), "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14), "9": (14, 17, 17, 15, 1, 2, 12),
    "P": (30, 17, 17, 30, 16, 16, 16), "R": (30, 17, 17, 30, 20, 18, 17),
    "E": (31, 16, 16, 30, 16, 16, 31), "D": (30, 17, 17, 17, 17, 17, 30),
    "I": (14, 4, 4, 4, 4, 4, 14), "C": (14, 17, 16, 16, 16, 17, 14),
    "T": (31, 4, 4, 4, 4, 4, 4), "U": (17, 17, 17, 17, 17, 17, 14),
}
GLYPH_WIDTH, GLYPH_HEIGHT = 5, 7


def write(path, confusion):
    """Write the matrix to path: true digits down, predicted digits across.

    A cell's colour is its share of the row, green on the diagonal and red off it,
    so that a rare mistake shows as well as a common success.
    """
    count = len(confusion)
    side = count * CELL
    canvas = Canvas(LEFT + side + MARGIN, TOP + side + MARGIN)
    canvas.text("PREDICTED", LEFT + side // 2, 24, 2, INK)
    canvas.text_down("TRUE", 24, TOP + side // 2, 2, INK)
    canvas.rectangle(LEFT - 1, TOP - 1, side + 1, side + 1, FAINT)
    for i, row in enumerate(confusion):
        middle = i * CELL + CELL // 2
        canvas.text(str(i), LEFT + middle, TOP - 22, 3, INK)
        canvas.text(str(i), LEFT - 22, TOP + middle, 3, INK)
        for j, n in enumerate(row):
            share = n / max(1, sum(row))
            # The root lifts the small shares, which are the interesting ones.
            colour = blend(PAPER, RIGHT_HUE if i == j else WRONG_HUE, share ** 0.5)
            left, top = LEFT + j * CELL, TOP + i * CELL
            canvas.rectangle(left, top, CELL - 1, CELL - 1, colour)
            if n:
                ink = PAPER if luminance(colour) < 140 else INK
                canvas.text(str(n), left + CELL // 2, top + CELL // 2, 2, ink)
    path.write_bytes(canvas.png())


class Canvas:
    """Rows of RGB bytes."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows = [bytearray(bytes(PAPER) * width) for _ in range(height)]

    def rectangle(self, left, top, width, height, colour):
        for row in self.rows[top:top + height]:
            row[3 * left:3 * (left + width)] = bytes(colour) * width

    def text(self, text, x, y, scale, colour):
        """One line, centred on (x, y)."""
        pitch = (GLYPH_WIDTH + 1) * scale
        left = x - (len(text) * pitch - scale) // 2
        for i, char in enumerate(text):
            self.glyph(char, left + i * pitch, y - GLYPH_HEIGHT * scale // 2, scale, colour)

    def text_down(self, text, x, y, scale, colour):
        """One upright letter below the other, centred on (x, y)."""
        pitch = (GLYPH_HEIGHT + 2) * scale
        first = y - (len(text) - 1) * pitch // 2
        for i, char in enumerate(text):
            self.text(char, x, first + i * pitch, scale, colour)

    def glyph(self, char, left, top, scale, colour):
        for down, bits in enumerate(FONT[char]):
            for across in range(GLYPH_WIDTH):
                if bits >> (GLYPH_WIDTH - 1 - across) & 1:
                    self.rectangle(left + across * scale, top + down * scale,
                                   scale, scale, colour)

    def png(self):
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        # Each line starts with its filter; 0 is none.
        lines = b"".join(b"\0" + row for row in self.rows)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def chunk(kind, data):
    return (struct.pack(">I", len(data)) + kind + data
            + struct.pack(">I", zlib.crc32(kind + data)))


def blend(start, end, share):
    return tuple(round(a + (b - a) * share) for a, b in zip(start, end))


def luminance(colour):
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
