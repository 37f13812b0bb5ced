/** NF4 values by code: quantiles of a normal distribution, bitsandbytes' table. */
export const nf4Codes: readonly number[] = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
]

const fp4Magnitudes = [0, 0.0625, 8, 12, 4, 6, 2, 3]

/** FP4 values by code (sign bit, then three bits), divided by 12 as bitsandbytes does. */
export const fp4Codes: readonly number[] = [
  ...fp4Magnitudes.map((value) => value / 12),
  // bitsandbytes stores the second zero without a sign.
  ...fp4Magnitudes.map((value) => 0 - value / 12),
]
