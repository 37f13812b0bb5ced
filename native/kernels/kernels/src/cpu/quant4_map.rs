//! Codebooks of bitsandbytes: NF4, FP4 and the 8-bit dynamic map.

/// NF4: quantiles of the normal distribution, scaled to ±1 (Dettmers et al. 2023, appendix E).
pub const NF4_VALUES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// FP4 in bit order (sign, then three bits), divided by its largest value 12.
pub const FP4_VALUES: [f32; 16] = [
    0.0,
    0.0625 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    6.0 / 12.0,
    2.0 / 12.0,
    3.0 / 12.0,
    0.0,
    -0.0625 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -6.0 / 12.0,
    -2.0 / 12.0,
    -3.0 / 12.0,
];

/// The 256-entry 8-bit dynamic map (Dettmers 2015, arXiv 1511.04561): seven decades whose number of
/// fraction bits grows with the exponent, plus 0 and 1, ascending. The signed map holds negatives too.
pub fn dynamic_map(signed: bool) -> [f32; 256] {
    let mut values: Vec<f32> = Vec::with_capacity(256);
    for exponent in 0..7i32 {
        let items = if signed { 1usize << exponent } else { 1usize << (exponent + 1) };
        let power = [1e-6f32, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0][exponent as usize];
        for pair in linspace(items + 1).windows(2) {
            let mean = (pair[0] + pair[1]) / 2.0;
            values.push(power * mean);
            if signed {
                values.push(-(power * mean));
            }
        }
    }
    values.push(0.0);
    values.push(1.0);
    values.sort_by(f32::total_cmp);
    values.try_into().expect("seven decades, 0 and 1 make 256 entries")
}

/// `count` points from 0.1 to 1 in f32: the first half counted up from 0.1, the second down from 1,
/// each with one rounding, as torch computes it where FMA exists.
fn linspace(count: usize) -> Vec<f32> {
    let (start, end) = (0.1f32, 1.0f32);
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|index| {
            if index < count / 2 {
                step.mul_add(index as f32, start)
            } else {
                (-step).mul_add((count - index - 1) as f32, end)
            }
        })
        .collect()
}
