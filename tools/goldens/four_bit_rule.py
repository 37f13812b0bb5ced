"""Our reading of the bitsandbytes 4-bit format in numpy, to be checked against bitsandbytes' own output."""

import numpy as np

NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
], np.float32)
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32) / np.float32(12)
CODES = {"nf4": NF4, "fp4": FP4}


def midpoints(quant_type: str) -> np.ndarray:
    """The 15 thresholds in ascending order, in float32 arithmetic."""
    ordered = np.sort(CODES[quant_type])
    return (ordered[:-1] + ordered[1:]) / np.float32(2)


def quantize(values: np.ndarray, quant_type: str, block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(packed u8 [ceil(n / 2)], absmax f32 [blocks]) by reciprocal and midpoints, the same for a short last block.

    A block of zeros keeps absmax 0 and gets the code of zero. FP4: ties and zeros towards the smaller magnitude, and
    only negative values take the sign bit (bitsandbytes' CUDA kernel; its CPU op differs where cases.json says so).
    """
    flat = values.astype(np.float32).reshape(-1)
    blocks = -(-flat.size // block_size)
    padded = np.zeros(blocks * block_size, np.float32)
    padded[: flat.size] = flat
    padded = padded.reshape(blocks, block_size)
    absmax = np.abs(padded).max(axis=1)
    reciprocal = np.float32(1) / np.maximum(absmax, np.float32(1e-38))
    scaled = np.clip(padded * reciprocal[:, None], -1, 1).reshape(-1)[: flat.size]
    if quant_type == "nf4":
        codes = np.searchsorted(midpoints("nf4"), scaled, side="left")
    else:
        magnitudes = np.array([0, 1, 6, 7, 4, 5, 2, 3])  # three-bit codes in ascending order of value
        ordered = FP4[magnitudes]
        thresholds = (ordered[:-1] + ordered[1:]) / np.float32(2)
        codes = magnitudes[np.searchsorted(thresholds, np.abs(scaled), side="left")] + 8 * (scaled < 0)
    codes = np.append(codes, 7 if quant_type == "nf4" else 0) if codes.size % 2 else codes
    codes = codes.astype(np.uint8)
    return (codes[0::2] << 4) | codes[1::2], absmax


def quantize_blockwise(values: np.ndarray, code: np.ndarray, block_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """8-bit codes by reciprocal and float32 midpoints, ties to the lower code."""
    blocks = -(-values.size // block_size)
    padded = np.zeros(blocks * block_size, np.float32)
    padded[: values.size] = values
    padded = padded.reshape(blocks, block_size)
    absmax = np.abs(padded).max(axis=1)
    scaled = np.clip(padded * (np.float32(1) / np.maximum(absmax, np.float32(1e-38)))[:, None], -1, 1)
    bounds = (code[:-1] + code[1:]) / np.float32(2)
    codes = np.searchsorted(bounds, scaled.reshape(-1)[: values.size], side="left")
    return codes.astype(np.uint8), absmax
